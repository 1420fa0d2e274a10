"""Whole analyses against native KataGo: every field and setting that changes a search has changed ours likewise.

`tests/golden/record_analysis_numbers.py` recorded the replies; ours come from the protocol object over a real search
with the same network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.local_engine import LocalEngine, local_engine

from agent.engine.backends import open_backend
from agent.service.analysis import AnalysisConnection
from agent.service.config_keys import configure
from agent.service.options import ServiceOptions
from agent.service.outputs import Output, Send, Submit

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "analysis_numbers.jsonl").read_text("utf-8").splitlines()
]
OPTIONS = configure(
    "analysis", overrides=["numAnalysisThreads=1", "nnRandomize=false", "useGraphSearch=false", "wideRootNoise=0"]
)
# Where the two runtimes round differently a tie between two moves may turn; then a visit goes another way.
TOLERANCES = {"visits": 1.0, "edgeVisits": 1.0, "weight": 1.0, "edgeWeight": 1.0, "playSelectionValue": 1.5}
# Points, and everything that is a share of 1.
POINTS = {
    "scoreLead",
    "scoreMean",
    "scoreSelfplay",
    "scoreStdev",
    "rawLead",
    "rawScoreSelfplay",
    "rawScoreSelfplayStdev",
}
POINTS_OFF, SHARE_OFF = 0.05, 5e-3


@pytest.fixture(scope="module")
def engine(converted_network: Callable[[str], Path]) -> Iterator[LocalEngine]:
    backend = open_backend("onnxruntime", converted_network("b15c192"), threads=1)
    with local_engine(backend) as engine:
        yield engine
    backend.close()


def ask(engine: LocalEngine, query: dict[str, Any]) -> dict[str, Any]:
    options = OPTIONS.options(ServiceOptions())
    connection = AnalysisConnection(options, engine.next_id, lambda: engine.ready)
    replies: list[dict[str, Any]] = []

    def carry_out(outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                replies.append(json.loads(output.data))
            elif isinstance(output, Submit):
                engine.submit(output.request, lambda report: carry_out(connection.receive_report(report)))

    engine.clear_cache()
    carry_out(connection.receive_line(json.dumps(query).encode()))
    while not any("rootInfo" in reply for reply in replies):
        engine.deliver_next()
    return replies[-1]


def differences(ours: Any, theirs: Any, name: str = "") -> Iterator[str]:
    """What differs by more than rounding; `name` is the field's."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        if ours.keys() != theirs.keys():
            yield f"{name}: fields {sorted(ours.keys() ^ theirs.keys())}"
        for field in theirs.keys() & ours.keys():
            yield from differences(ours[field], theirs[field], field)
    elif isinstance(theirs, list):
        if len(ours) != len(theirs) and name not in ("moveInfos", "pv", "pvVisits", "pvEdgeVisits"):
            yield f"{name}: {len(ours)} instead of {len(theirs)}"
        for mine, other in zip(ours, theirs, strict=False):
            yield from differences(mine, other, name)
    elif isinstance(theirs, float | int) and not isinstance(theirs, bool):
        allowed = TOLERANCES.get(name, POINTS_OFF if name in POINTS else SHARE_OFF)
        if abs(ours - theirs) > allowed:
            yield f"{name}: {ours} instead of {theirs}"
    elif ours != theirs and name != "pv":
        yield f"{name}: {ours} instead of {theirs}"


@pytest.mark.network
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["query"]["id"])
def test_an_analysis_is_native_katagos(row: dict[str, Any], engine: LocalEngine) -> None:
    assert list(differences(ask(engine, row["query"]), row["reply"])) == []
