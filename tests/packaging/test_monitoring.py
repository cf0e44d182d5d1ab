"""What `packaging/` has for those who watch a server: it asks for numbers that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml

from engine.serving.metrics import page_of
from tests.pages import families_of
from tests.quick import AnyText, engine_of, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "packaging" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "nucleus.json"
PAGE = ROOT / "docs" / "metrics.md"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to each series; a series of its own is ``up``."""
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Prometheus) is not installed"
)


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where each expression stands, and the expression as Prometheus gets it."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            where = f"{panel['title']} ({target['legendFormat']})"
            yield where, target["expr"].replace("$__rate_interval", "5m")
    for question, expression in re.findall(r"^\| ([^|`]+) \| `(.*)` \|$", PAGE.read_text(), re.MULTILINE):
        yield question, expression.replace(r"\|", "|")


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[str, set[str]]]:
    """Return the values of each label of each series of a page."""
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    with closing(service_of(engine_of(AnyText()))) as service:
        for family in families_of(service):
            for sample in family.samples:
                values = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    values.setdefault(name, set()).add(value)
    return found


@pytest.mark.parametrize(("where", "expression"), [*expressions()], ids=lambda given: given[:32])
def test_an_expression_parses_and_asks_for_what_there_is(
    where: str, expression: str, labels: dict[str, dict[str, set[str]]]
) -> None:
    selectors: list[promql_parser.VectorSelector] = []
    grouped: set[str] = set()

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            selectors.append(part)
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            grouped.update(part.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert selectors, where
    known = set(OF_PROMETHEUS)
    for selector in selectors:
        series = labels[selector.name or ""]
        known |= {*series}
        for matcher in selector.matchers.matchers:
            assert matcher.name in {*series} | OF_PROMETHEUS
            if matcher.name in series and matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in series[matcher.name]
    assert grouped <= known


def test_the_page_has_its_questions() -> None:
    assert len([*expressions()]) >= len(RULES) + len(PANELS) + 8


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len({*names}) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_each_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        columns, rows = (range(at[start], at[start] + at[size]) for start, size in ("xw", "yh"))
        fields = {*product(columns, rows)}
        assert not taken & fields
        assert max(x for x, _ in fields) < 24
        taken |= fields
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert all(panel["description"].endswith(".") for panel in PANELS)
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}


def test_what_the_dashboard_lets_choose_are_labels_that_there_are(
    labels: dict[str, dict[str, set[str]]],
) -> None:
    chosen = {each["name"]: each["query"] for each in BOARD["templating"]["list"] if each["type"] == "query"}
    for query in chosen.values():
        found = re.fullmatch(r"label_values\((\w+)[^,]*, (\w+)\)", query["query"])
        assert found is not None
        assert found[1] in labels
        assert found[2] in OF_PROMETHEUS
    used = set(re.findall(r"\$(\w+)", json.dumps([panel["targets"] for panel in PANELS])))
    assert used == {*chosen} | {"__rate_interval"}


@promtool
def test_promtool_takes_the_rules_and_the_page() -> None:
    with closing(service_of(engine_of(AnyText()))) as service:
        page = page_of(service)()
    for command, given in ((["check", "rules", str(ALERTS)], None), (["check", "metrics"], page)):
        checked = subprocess.run(["promtool", *command], input=given, capture_output=True, check=False)
        assert checked.returncode == 0, (checked.stdout + checked.stderr).decode()


HEALTHY = {
    "up": "1x300",
    "nucleus_up": "1x300",
    "nucleus_step_failures_total": "0x300",
    'nucleus_requests_total{outcome="length"}': "0+60x300",
    'nucleus_requests_total{outcome="queue_full"}': "0x300",
    'nucleus_requests_total{outcome="internal_error"}': "0x300",
    "nucleus_requests_unfinished": "9x300",
    "nucleus_requests_limit": "256x300",
    'nucleus_queue_duration_seconds_bucket{le="0.1"}': "0+60x300",
    'nucleus_queue_duration_seconds_bucket{le="10.0"}': "0+60x300",
    'nucleus_queue_duration_seconds_bucket{le="+Inf"}': "0+60x300",
    'gen_ai_server_time_to_first_token_seconds_bucket{le="0.1"}': "0+60x300",
    'gen_ai_server_time_to_first_token_seconds_bucket{le="10.0"}': "0+60x300",
    'gen_ai_server_time_to_first_token_seconds_bucket{le="+Inf"}': "0+60x300",
    "nucleus_kv_cells": "4096x300",
    "nucleus_kv_cells_used": "900x300",
    "nucleus_preemptions_total": "0+1x300",
    "process_resident_memory_bytes": "1000000000x300",
    "process_start_time_seconds": "0x300",
    "process_open_fds": "40x300",
    "process_max_fds": "1024x300",
}
"""Five hours of a server that nothing is wrong with: a value a minute, as promtool writes them."""
ILL = {
    "NucleusDown": {"up": "0x300"},
    "NucleusEngineFailed": {"nucleus_up": "0x300"},
    "NucleusStepsFail": {"nucleus_step_failures_total": "0+1x300"},
    "NucleusRequestsFail": {'nucleus_requests_total{outcome="internal_error"}': "0+1x300"},
    "NucleusRefusesRequests": {'nucleus_requests_total{outcome="queue_full"}': "0+2x300"},
    "NucleusQueueNearlyFull": {"nucleus_requests_unfinished": "250x300"},
    "NucleusWaitsLong": {'nucleus_queue_duration_seconds_bucket{le="0.1"}': "0+6x300"},
    "NucleusFirstTokenLate": {'gen_ai_server_time_to_first_token_seconds_bucket{le="0.1"}': "0+54x300"},
    "NucleusCacheFull": {"nucleus_kv_cells_used": "4000x300"},
    "NucleusPreempts": {"nucleus_preemptions_total": "0+20x300"},
    "NucleusMemoryGrows": {"process_resident_memory_bytes": "1000000000+10000000x300"},
    "NucleusConnectionsRunOut": {"process_open_fds": "1000x300"},
}
"""What changes with each alert's trouble; no other alert may fire."""


@promtool
def test_each_alert_fires_for_its_trouble_and_no_other_does(tmp_path: Path) -> None:
    assert [rule["alert"] for rule in RULES] == [*ILL]
    cases = [(None, HEALTHY), *((name, HEALTHY | changes) for name, changes in ILL.items())]
    (tmp_path / "tests.yml").write_text(
        json.dumps(
            {
                "rule_files": [str(ALERTS)],
                "evaluation_interval": "5m",
                "tests": [_case(name, series) for name, series in cases],
            }
        )
    )
    checked = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _case(name: str | None, series: dict[str, str]) -> dict[str, Any]:
    fires = [] if name is None else [{"labels": f'{{alertname="{name}"}}', "value": 1}]
    return {
        "name": name or "healthy",
        "interval": "1m",
        "input_series": [{"series": _in_full(each), "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "5h",
                "exp_samples": fires,
            }
        ],
    }


def _in_full(series: str) -> str:
    """Add the labels that Prometheus adds."""
    name, _, labels = series.partition("{")
    return f'{name}{{job="nucleus",instance="a:8000",{labels or "}"}'
