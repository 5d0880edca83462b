"""What docs/prometheus.md, the alert rules and the dashboard say is what nodes say."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.metrics import HELP

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/prometheus.md").read_text()
RULES = ROOT / "docs/prometheus/keepline.rules.yml"
BOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana/gateways.json").read_text())
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and not os.environ.get("CI"),
    reason="promtool is not here: apt-get install prometheus",
)


def promtool(*words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """`text`: what it reads."""
    assert PROMTOOL is not None, "apt-get install prometheus"
    return subprocess.run(
        [PROMTOOL, *words], input=text, capture_output=True, text=True, check=False
    )


def rules() -> list[dict[str, Any]]:
    return [one for group in yaml.safe_load(RULES.read_text())["groups"] for one in group["rules"]]


def expressions() -> list[str]:
    """Of every panel of the dashboard."""
    return [one["expr"] for panel in BOARD["panels"] for one in panel.get("targets", ())]


def named(expression: str) -> set[str]:
    """The metrics of ours that it asks for."""
    return set(re.findall(r"\bkeepline_\w+", expression))


def test_the_page_has_every_metric_with_the_meaning_that_a_scrape_shows() -> None:
    found = re.findall(r"^\| `(keepline_\w+)` \|[^|]*\| (.+) \|$", PAGE, re.MULTILINE)
    assert found == list(HELP.items())


def test_the_page_has_every_alert_and_each_says_what_is_wrong_and_what_to_do() -> None:
    assert re.findall(r"^\| `(Keepline\w+)` \|", PAGE, re.MULTILINE) == [
        one["alert"] for one in rules()
    ]
    for one in rules():
        assert one["labels"]["severity"] in ("critical", "warning")
        assert one["annotations"].keys() == {"summary", "description"}


def test_rules_and_panels_ask_for_metrics_that_there_are() -> None:
    for expression in [*expressions(), *(one["expr"] for one in rules())]:
        assert named(expression) <= HELP.keys(), expression
        assert named(expression) or expression.startswith("up{"), expression


@needs_promtool
def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", str(RULES))
    assert (done.returncode, done.stderr) == (0, "")


@needs_promtool
def test_every_rule_fires_when_it_should_and_not_before() -> None:
    tests = Path(__file__).with_name("keepline.rules.test.yml")
    done = promtool("test", "rules", str(tests))
    assert done.returncode == 0, done.stdout + done.stderr
    untested = [one["alert"] for one in rules() if one["alert"] not in tests.read_text()]
    assert untested == []


def test_a_panel_hides_no_other_and_asks_the_chosen_prometheus() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    cells: set[tuple[int, int]] = set()
    panels = BOARD["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not covered & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= covered
        if panel["type"] != "row":
            assert panel["datasource"] == chosen
            assert all(target["datasource"] == chosen for target in panel["targets"])
    variables = {one["name"] for one in BOARD["templating"]["list"]}
    asked = {name for one in expressions() for name in re.findall(r"\$(\w+)", one)}
    assert asked - {"__rate_interval"} == variables - {"datasource"}
