"""A version of the centre as people see it."""

from node import show


def test_what_goes_on_though_the_file_says_it_no_more_stands_above_it() -> None:
    document = {"version": 3, "by": "ann", "at": "2026-01-01T00:00:00Z", "file": "queues: {}\n"}
    assert show.centre({**document, "closing": [], "closing_sites": []}) == (
        "# version 3 of the centre, by ann, 2026-01-01T00:00:00Z\nqueues: {}"
    )
    assert show.centre({**document, "closing": ["north"], "closing_sites": ["goa", "pune"]}) == (
        "# version 3 of the centre, by ann, 2026-01-01T00:00:00Z\n"
        "# removed, until its last call has ended: shard north\n"
        "# without devices, until its receivers are told: site goa, pune\n"
        "queues: {}"
    )
