"""What native KataGo's analysis engine answered, and what ours does: every row of the protocol, errors to the letter.

`tests/golden/record_analysis.py` records it. Left out are what each program says of itself and the words in which a
JSON library says where a text stops being JSON.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.driving import Driver, analysis
from fakes.engine import READY
from golden.native import CONFIG_NAME
from golden.record_analysis import NETWORK, kept, order

from agent.engine.messages import SearchRequest
from agent.service.config_file import Setting
from agent.service.config_keys import configure
from agent.service.options import ServiceOptions

ROWS = [json.loads(line) for line in (Path(__file__).parents[1] / "golden" / "analysis.jsonl").open(encoding="utf-8")]


def ours(row: dict[str, Any]) -> Driver:
    settings = {name: Setting(text) for name, text in {"numAnalysisThreads": "1", **row["settings"]}.items()}
    configuration = configure("analysis", [settings], ["homeDataDir=home"], name=CONFIG_NAME)
    return analysis(configuration.options(ServiceOptions(max_visits=10)))


def converse(client: Driver, line: str, awaited: str) -> list[Any]:
    """The replies to a line."""
    before = len(client.output)
    client.line(line)
    while client.engine.waiting and awaited != "now":
        (request, *_) = client.engine.waiting.values()
        if isinstance(request[0], SearchRequest) and request[0].report_every_s is not None:
            client.release(final=False)
        if awaited == "reported":
            break
        client.release()
    return [json.loads(reply) for reply in client.output[before:].decode().replace(READY.network, NETWORK).splitlines()]


def comparable(reply: dict[str, Any]) -> dict[str, Any]:
    """Without the place and cause that a JSON parser names."""
    found = dict(reply)
    if isinstance(found.get("error"), str):
        found["error"] = re.sub(r"(?s)(parse_error\.101\]) .*( - could not parse)", r"\1\2", found["error"])
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_answers_are_native_katagos(row: dict[str, Any]) -> None:
    client = ours(row)
    for step in row["steps"]:
        replies = converse(client, step["line"], step["awaited"])
        found = [comparable(reply) for reply in kept(step["line"], replies)]
        assert found == [comparable(reply) for reply in step["replies"]]
        assert order(replies) == step["order"]
