"""What native KataGo's GTP engine answered, and what ours does: every row of the protocol, errors to the letter.

`tests/golden/record_gtp.py` records it. Ours searches for these answers too, with a network that is a formula; what any
network finds is masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fakes.local_engine import LocalEngine, LocalGtp, local_engine
from fakes.opinions import OpinionsBackend

from agent.service.config_file import Setting
from agent.service.config_keys import configure
from agent.service.options import ServiceOptions
from tests.golden.gtp_scenarios import SCENARIOS, Scenario
from tests.golden.native import CONFIG_NAME
from tests.golden.record_gtp import CANCELLABLE, STREAMING, command_of, masked, read, settings_of

TOLD = read(Path(__file__).parents[1] / "golden" / "gtp.txt")

CONFIGURATION = f"{CONFIG_NAME} and/or command-line and query overrides and/or command-line and query overrides"
# Where ours differs on purpose: docs/decisions/0008-answers-as-katago.md says why.
DIFFERENT: Mapping[str, str] = {
    "boardsize 20": "? unacceptable size (the largest board is 19x19)\n\n",
    # KataGo's name of a configuration grows with every change to it.
    "kata-set-param ponderingEnabled maybe": "? Could not set params: Could not parse 'maybe' as bool for key"
    f" 'ponderingEnabled' in config file {CONFIGURATION}\n\n",
}
# Commands of KataGo's list that ours has not.
LEFT_OUT = {"genmove_debug", "kata-search_debug", "debug_moves"}


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with local_engine(OpinionsBackend()) as engine:
        yield engine


def client_of(engine: LocalEngine, scenario: Scenario) -> LocalGtp:
    settings = {name: Setting(text) for name, text in settings_of(scenario).items()}
    configuration = configure("gtp", [settings], ["homeDataDir=home"], name=CONFIG_NAME)
    return LocalGtp(engine, configuration.options(ServiceOptions(may_use_files=True)))


def converse(client: LocalGtp, line: str, *, cancels: bool) -> str:
    """The reply to a line, as far as the recorder waited for it."""
    before = len(client.output)
    client.line(line)
    command = command_of(line)
    if client.is_busy and command in (*STREAMING, *(CANCELLABLE if cancels else ())):
        while "analyze" in command and b"\ninfo " not in client.output[before:] and client.is_busy:
            client.next_report()
    else:
        while client.is_busy:
            client.next_report()
    return client.output[before:].decode()


def stripped(reply: str) -> str:
    """Without space at the ends of lines, which nobody would see in the record."""
    return "\n".join(line.rstrip() for line in reply.split("\n"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_replies_are_native_katagos(
    scenario: Scenario, engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in scenario.files.items():
        Path(name).write_text(text, encoding="utf-8")
    client = client_of(engine, scenario)
    assert [line for line, _ in TOLD[scenario.name]] == list(scenario.lines), "record the transcripts anew"
    for line, told in TOLD[scenario.name]:
        reply = masked(line, converse(client, line, cancels="cancels" in scenario.name))
        if command_of(line) == "list_commands":
            theirs, mine = set(told.split()), set(reply.split())
            assert theirs - mine == LEFT_OUT and mine <= theirs
            continue
        assert stripped(reply) == DIFFERENT.get(line, told), line
