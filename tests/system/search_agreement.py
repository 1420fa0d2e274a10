"""How far our searches agree with native KataGo's on the golden positions, and how far native's agree with each other.

    python -m tests.system.search_agreement search native --katago KATAGO --network b15c192.bin.gz --journal J.jsonl
    python -m tests.system.search_agreement search ours --network b15c192.bin.gz --journal J.jsonl
    python -m tests.system.search_agreement report --journal J.jsonl

A search begins with an empty cache and one leaf at a time; its seed decides in which symmetries the network sees the
positions. Each is written to the journal when it is done, so a run may be ended at any time and started again; the
order of the positions is shuffled, so that a journal that is not full yet is a fair sample. `--set` changes a search
parameter, and `--label` names what was searched so, for a comparison of more than two ways to search.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from agent.engine.backends import open_backend
from agent.engine.messages import Position, RawReport, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.engine.points import BLACK, WHITE, parse_color, parse_vertex, vertex
from agent.engine.rules import parse_rules
from agent.engine.search_params import read_search_param
from tests.system.agreement_report import Row, golden, read_journal, report

# As KataGo plays: its analysis engine looks wider at the root and takes no notice of what was played before.
AS_PLAYED = {"wideRootNoise": "0", "ignorePreRootHistory": "false"}
# Positions searched by one process before the next seed's turn: a journal in the making holds all seeds of most.
BLOCK = 8
# Of each search's moves, those that the journal keeps.
MOVES_KEPT = 6
WAIT_S = 3600.0
# 2.5 MB of b15c192's evaluations for each search of 200 visits; a search of 3000 fits as well.
CACHE_POSITIONS = 20_000


class Engine(Protocol):
    """Searches one position after the other, with nothing kept between them."""

    def search(self, row: Row, visits: int) -> Row: ...

    def close(self) -> None: ...


class Native:
    """`katago analysis` on its standard input and output."""

    def __init__(self, command: list[str], network: Path, seed: int, settings: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        config = Path(self._folder.name) / "analysis.cfg"
        written = {
            "numAnalysisThreads": 1,
            "numSearchThreadsPerAnalysisThread": 1,
            "numEigenThreadsPerModel": 1,
            "nnMaxBatchSize": 1,
            "nnCacheSizePowerOfTwo": 16,
            "reportAnalysisWinratesAs": "WHITE",
            "nnRandSeed": seed,
            "logToStderr": "false",
            "logDir": self._folder.name,
            "homeDataDir": self._folder.name,
        }
        config.write_text("".join(f"{key} = {value}\n" for key, value in written.items()))
        self._settings = settings
        self._process = subprocess.Popen(
            [*command, "analysis", "-config", str(config), "-model", str(network)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _ask(self, query: Row) -> Row:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(query) + "\n")
        stdin.flush()
        answer: Row = json.loads(stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"native KataGo answered {answer}")
        return answer

    def search(self, row: Row, visits: int) -> Row:
        self._ask({"id": "clear", "action": "clear_cache"})
        query = {
            "id": "search",
            "boardXSize": row["size"][0],
            "boardYSize": row["size"][1],
            "rules": row["rules_full"],
            "komi": row["komi"],
            "initialStones": [["B", stone] for stone in row["handicap"]],
            "initialPlayer": "W" if row["handicap"] else "B",
            "moves": row["moves"],
            "maxVisits": visits,
            "overrideSettings": self._settings,
        }
        answer = self._ask(query)
        root = answer["rootInfo"]
        kept = ("visits", "winrate", "scoreLead", "lcb", "prior", "playSelectionValue")
        moves = [[move["move"], *(move[name] for name in kept)] for move in answer["moveInfos"][:MOVES_KEPT]]
        return {"winrate": root["winrate"], "lead": root["scoreLead"], "utility": root["utility"], "moves": moves}

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


class Ours:
    """The built-in engine in this process: a player over a network runtime, as the worker has it."""

    def __init__(
        self, backend: str, network: Path, seed: int, settings: dict[str, str], threads: int, batch: int
    ) -> None:
        self._backend = open_backend(backend, network, threads=threads)
        self._player = Player(self._backend, threads=threads, batch=batch, cache_positions=CACHE_POSITIONS, seed=seed)
        self._overrides = {name: read_search_param(name, text) for name, text in settings.items()}

    def search(self, row: Row, visits: int) -> Row:
        self._player.clear_cache()
        position = position_of(row)
        request = SearchRequest(
            id=1, position=position, player=position.to_play, max_visits=visits, overrides=self._overrides
        )
        reports: queue.Queue[SearchReport | RawReport] = queue.Queue()
        self._player.submit(request, reports.put)
        report = reports.get(timeout=WAIT_S)
        if not isinstance(report, SearchReport) or report.root is None or report.stats is None:
            raise RuntimeError(f"our engine answered {report.error}")
        found = [
            [
                *(vertex(move.move, *row["size"]), move.visits, move.winrate, move.score_lead),
                *(move.lcb, move.prior, move.play_selection_value),
            ]
            for move in report.moves[:MOVES_KEPT]
        ]
        root, stats = report.root, report.stats
        answer = {"winrate": root.winrate, "lead": root.score_lead, "utility": root.utility, "moves": found}
        return answer | {"evaluations": stats.evaluations, "cacheHits": stats.cache_hits, "terminal": stats.terminal}

    def close(self) -> None:
        self._player.close()
        self._backend.close()


def position_of(row: Row) -> Position:
    x_size, y_size = row["size"]
    played = [(parse_color(color), parse_vertex(name, x_size, y_size)) for color, name in row["moves"]]
    stones = [parse_vertex(name, x_size, y_size) for name in row["handicap"]]
    return Position(
        x_size,
        y_size,
        parse_rules(row["rules_full"]),
        row["komi"],
        initial_stones=tuple((BLACK, stone) for stone in stones if stone is not None),
        initial_player=WHITE if stones else BLACK,
        moves=tuple((color, point) for color, point in played if color is not None and point is not None),
    )


# ---------------------------------------------------------------- searching


def still_to_do(options: argparse.Namespace, label: str) -> Iterator[tuple[int, list[int]]]:
    """Seeds, each with a block of positions that this way to search has not done yet."""
    done = {
        (row["seed"], row["position"])
        for row in read_journal(options.journal)
        if row["label"] == label and row["visits"] == options.visits
    }
    chosen = [index for index, row in enumerate(golden()) if options.board in (None, max(row["size"]))]
    random.Random(1).shuffle(chosen)
    chosen = chosen[: options.positions]
    for start in range(0, len(chosen), BLOCK):
        for seed in options.seeds:
            if missing := [index for index in chosen[start : start + BLOCK] if (seed, index) not in done]:
                yield seed, missing


def search(options: argparse.Namespace) -> None:
    label = options.label or options.engine
    settings = AS_PLAYED | dict(setting.split("=", 1) for setting in options.set)
    rows = golden()
    # A run that was killed may have left half a line, which the next row must not continue.
    if options.journal.exists() and not options.journal.read_bytes().endswith(b"\n"):
        with options.journal.open("a") as file:
            file.write("\n")
    for seed, positions in list(still_to_do(options, label)):
        engine = open_engine(options, seed, settings)
        try:
            for index in positions:
                found = engine.search(rows[index], options.visits)
                header = {"label": label, "seed": seed, "position": index, "visits": options.visits}
                with options.journal.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rounded(header | found), separators=(",", ":")) + "\n")
        finally:
            engine.close()


def open_engine(options: argparse.Namespace, seed: int, settings: dict[str, str]) -> Engine:
    if options.engine == "native":
        return Native(options.katago, options.network, seed, settings)
    return Ours(options.backend, options.network, seed, settings, options.threads, options.batch)


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {key: rounded(each) for key, each in value.items()} if isinstance(value, dict) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    searching = verbs.add_parser("search", help="search what the journal lacks")
    searching.add_argument("engine", choices=("native", "ours"))
    searching.add_argument("--network", type=Path, required=True, help="a .bin.gz, or what --backend reads")
    searching.add_argument("--katago", nargs="+", default=["katago"], help="how to start native KataGo")
    searching.add_argument("--backend", default="core")
    searching.add_argument("--threads", type=int, default=1, help="of ours")
    searching.add_argument("--batch", type=int, default=1, help="leaves that each of our threads takes at once")
    searching.add_argument("--label", help="default: the engine")
    searching.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    searching.add_argument("--positions", type=int, help="the first so many of the shuffled positions")
    reporting = verbs.add_parser("report", help="compare what the journal has; status 1 when a bound is broken")
    reporting.add_argument("--compare", default="native,ours", help="labels; the first one is the reference")
    reporting.add_argument("--list", action="store_true", help="name the positions that differ most")
    for each in (searching, reporting):
        each.add_argument("--journal", type=Path, required=True)
        each.add_argument("--visits", type=int, default=200)
        each.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
        each.add_argument("--board", type=int, help="only positions whose longer side is this")
    options = parser.parse_args()
    if len(options.seeds) < 2 and options.verb == "report":
        parser.error("one seed says nothing of what another would do")
    if options.verb == "report":
        return report(options)
    search(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
