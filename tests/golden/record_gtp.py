"""Records what a native KataGo's GTP engine answers: gtp.txt from the scenarios of `gtp_scenarios.py`.

    python -m tests.golden.record_gtp KATAGO NETWORK.bin.gz > tests/golden/gtp.txt

Any small network will do: what it finds is masked (`masked` says how). The file is to be read by people: `>` is a line
that was sent, `|` one of the reply. `tests/service/test_gtp_transcripts.py` holds the same conversations with ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.golden.gtp_scenarios import SCENARIOS, Scenario
from tests.golden.native import NativeProcess

SETTINGS = {
    "logAllGTPCommunication": "false",
    "logSearchInfo": "false",
    "rules": "tromp-taylor",
    "allowResignation": "false",
    "resignThreshold": "-0.9",
    "lagBuffer": "1.0",
    "maxVisits": "500",
}
# Go on until the next line; the reply is complete enough with the first of these.
STREAMING = ("lz-analyze", "kata-analyze")
CANCELLABLE = ("kata-search_cancellable", "kata-search_analyze_cancellable")
SYMMETRIES = 8

_NUMBER = r"-?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|nan)"
_STONE = "[A-HJ-T][0-9]{1,2}"
_VERTEX = rf"(?:{_STONE}|pass)"


def command_of(line: str) -> str:
    """Without its id; empty where the line is none."""
    return line.partition("#")[0].strip().lstrip("0123456789").strip().partition(" ")[0]


def masked(line: str, reply: str) -> str:
    """The reply to a line without what the network found, what an engine says of itself, and how often it told it. Of a
    move remains whether it is a pass."""
    command = command_of(line)
    lines = [_masked_line(command, text) for text in reply.split("\n")]
    told = [text for index, text in enumerate(lines) if not (index and text == lines[index - 1] and "info" in text)]
    if command == "version":
        return re.sub(r"= .*", "= VERSION", reply)
    if command == "kata-get-models":
        return re.sub(r":(\"[^\"]*\"|[a-z0-9]+)", ":#", reply)
    if command in ("genmove", "kata-search", *CANCELLABLE):
        return re.sub(rf"(?m)^(=[0-9]* |play ){_STONE}$", r"\1V", "\n".join(told))
    if command == "place_free_handicap":
        return re.sub(_VERTEX, "V", reply)
    if command == "showboard":
        return re.sub("HASH: [0-9A-F]{32}", "HASH: #", reply)
    return "\n".join(told)


def _masked_line(command: str, text: str) -> str:
    if text.startswith("info "):
        text = re.sub(rf" ({_NUMBER})(?= |$)", " #", text)
        text = re.sub(rf" {_VERTEX}(?= |$)", " V", text)
        # Rows of numbers or moves as long as they come; ownership has one for each point.
        text = re.sub(r"(pv|pvVisits|pvEdgeVisits)( [V#])+", r"\1 …", text)
        text = re.sub(r"([oO]wnership(?:Stdev)?)((?: #)+)", lambda m: f"{m[1]} #×{m[2].count('#')}", text)
        text = re.sub(r" isSymmetryOf V", "", text)
        return re.sub(r"(info (?:(?! info | rootInfo | ownership).)*)(?: \1)+", r"\1", text)
    if text.startswith("play "):
        return re.sub(rf"play {_STONE}$", "play V", text)
    if command == "kata-raw-nn":
        return re.sub(rf"(?<![a-zA-Z0-9]){_NUMBER}(?= |$)", "#", text) if "symmetry" not in text else text
    if command in ("cputime", "gomill-cpu_time"):
        return re.sub(_NUMBER, "#", text)
    return text


def settings_of(scenario: Scenario) -> dict[str, str]:
    """What the configuration of a scenario's engine names."""
    return {name: text for name, text in {**SETTINGS, **scenario.settings}.items() if text}


def converse(native: NativeProcess, line: str, open_before: bool) -> tuple[str, bool]:
    """Send a line; what came until the next one may be sent, and whether a reply stays open then."""
    native.send(line)
    command = command_of(line)
    found: list[str] = []
    if open_before:
        # What it still tells of a search that the line ended is more of the same.
        found += [text for text in native.lines_until(lambda text: not text) if not text.startswith("info ")]
        if not command:
            return "\n".join(found) + "\n", False
    if not command:
        return "", False
    found.append(native.line())
    if command in STREAMING and found[-1].startswith("="):
        found.append(native.line())
        return "\n".join(found) + "\n", True
    # Every symmetry of the network ends with an empty line.
    for _ in range(SYMMETRIES if line.endswith("kata-raw-nn all") and found[-1].startswith("=") else 1):
        found += native.lines_until(lambda text: not text)
    return "\n".join(found) + "\n", False


def record(native: NativeProcess, scenario: Scenario) -> Iterator[tuple[str, str]]:
    still_open = False
    waits = "cancels" in scenario.name
    for line in scenario.lines:
        if waits and command_of(line) in CANCELLABLE:
            native.send(line)
            still_open = True
            found = ""
            if "analyze" in line:
                found = native.line() + "\n" + native.line() + "\n"
            yield line, found
            continue
        found, still_open = converse(native, line, still_open)
        yield line, found


def shown(line: str, reply: str) -> str:
    """The end of an analysis stands before the reply to the line that ended it, as it came."""
    text = "".join(f"| {part}".rstrip() + "\n" for part in masked(line, reply).split("\n")[:-1])
    return f"> {line}".rstrip() + "\n" + text


def read(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The recorded conversations by name: lines and masked replies."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for text in path.read_text(encoding="utf-8").splitlines():
        if text.startswith("## "):
            name = text[3:]
            found[name] = []
        elif text.startswith(">"):
            found[name].append((text[2:], ""))
        elif text.startswith("|"):
            line, reply = found[name][-1]
            found[name][-1] = (line, reply + text[2:] + "\n")
    return found


def main() -> None:
    katago, network = sys.argv[1:]
    for scenario in SCENARIOS:
        print(f"## {scenario.name}")
        with NativeProcess(katago, "gtp", network, settings_of(scenario)) as native:
            for name, text in scenario.files.items():
                native.write_file(name, text)
            for line, reply in record(native, scenario):
                print(shown(line, reply), end="")
        print()


if __name__ == "__main__":
    main()
