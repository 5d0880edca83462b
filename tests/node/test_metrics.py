import urllib.request

from node.metrics import Metrics, Sample


def test_a_scrape_shows_the_last_sample_with_labels_and_help() -> None:
    metrics = Metrics()
    port = metrics.serve("127.0.0.1", 0)
    metrics.samples = (
        Sample("keepline_shard_epoch", 7, {"shard": "north"}),
        Sample("keepline_shard_epoch", 3, {"shard": "south"}),
        Sample("keepline_sip_messages_total", 12, {"shard": "north", "kind": "received"}),
    )
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    metrics.close()

    assert 'keepline_shard_epoch{shard="north"} 7.0' in text
    assert 'keepline_shard_epoch{shard="south"} 3.0' in text
    assert 'keepline_sip_messages_total{kind="received",shard="north"} 12.0' in text
    assert "# HELP keepline_shard_epoch" in text
