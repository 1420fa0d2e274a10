"""KaTrain's own engine, game and AI classes go through a session without its window. Runs in KaTrain's environment.

    VENV/bin/python tests/clients/katrain_game.py --command "agent analysis --visits 50"
    VENV/bin/python tests/clients/katrain_game.py --url ws://127.0.0.1:4642

Nothing of KaTrain is replaced but the window: `Window` is the object that its classes report to, and it notes what the
user would have seen as an error or a pop-up. Prints one JSON object: the steps that passed, or the first that did not.
With `--url` a relay of our own stands between, and drops the connection once in the middle of a game's analysis.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Kivy reads both when it is imported: no arguments of ours, no log on our output.
os.environ |= {"KIVY_NO_ARGS": "1", "KIVY_NO_CONSOLELOG": "1"}

from katrain.core.ai import STRATEGY_REGISTRY, game_report, generate_ai_move
from katrain.core.base_katrain import KaTrainBase
from katrain.core.constants import AI_HUMAN, AI_PRO, AI_SETTLE_STONES, AI_SIMPLE_OWNERSHIP, OUTPUT_ERROR
from katrain.core.engine import BaseEngine
from katrain.core.game import Game, KaTrainSGF
from katrain.core.remote_engine import make_engine
from pysgf import Move

# One analysis of a whole small game on a busy machine takes seconds; beyond this something never comes.
STEP_S = 120.0
VISITS = {"max_visits": 12, "fast_visits": 4, "max_time": 5.0, "wide_root_noise": 0.04}
# They need a human-style network beside the other one.
HUMAN_STYLE = (AI_HUMAN, AI_PRO)
GAME = "(;GM[1]FF[4]SZ[9]KM[6.5]RU[Japanese];B[ee];W[gc];B[cg];W[gg];B[gf];W[ff];B[fe];W[hf];B[ge];W[hg])"
HANDICAP = "(;GM[1]FF[4]SZ[13:9]KM[0.5]RU[Chinese]HA[2]AB[dd][jf];W[jd];B[df];W[])"


class Window:
    """What KaTrain's classes expect of the window: a status line, a move tree to redraw, a pop-up."""

    def __init__(self) -> None:
        self.move_tree = self

    def set_status(self, *_: Any, **__: Any) -> None: ...

    def redraw(self) -> None: ...

    def redraw_tree_trigger(self) -> None: ...


class KaTrain(KaTrainBase):
    """KaTrain's base class as its window extends it; `troubles` are errors and pop-ups."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.is_cut_off = False
        super().__init__(force_package_config=True, debug_level=0)
        self.controls = Window()
        self.pondering = False

    def log(self, message: Any, level: float = 0) -> None:
        # What it says of the cut itself, when that comes amid a question.
        is_expected = self.is_cut_off and str(message).startswith("Unexpected exception")
        if level == OUTPUT_ERROR and not is_expected:
            self.troubles.append(str(message))
        print(f"[{level}] {message}", file=sys.__stderr__, flush=True)

    def update_state(self, **_: Any) -> None: ...

    def __call__(self, message: str, *arguments: Any) -> None:
        self.troubles.append(" ".join(map(str, (message, *arguments))))


class Relay:
    """TCP between KaTrain and the service; `drop` cuts every connection that goes through it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        for connection in self._open:
            # Its other end may be gone already, for the first half was cut.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            service = socket.create_connection(self._target)
            self.accepted += 1
            self._open += [client, service]
            for source, sink in ((client, service), (service, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Dropped on purpose, or the other side went: the same to a relay.
            return


def wait_for(what: str, is_so: Callable[[], bool], katrain: KaTrain) -> None:
    """KaTrain tells of progress in fields that its threads set; so does its own window look at them."""
    end = time.monotonic() + STEP_S
    while not is_so():
        assert not katrain.troubles, f"{what}: {katrain.troubles}"
        assert time.monotonic() < end, f"{what}: nothing for {STEP_S:.0f} s"
        time.sleep(0.02)


class Session:
    """One KaTrain with an engine; each method that `steps` names is a part of what a user does with it."""

    def __init__(self, engine_config: dict[str, Any], relay: Relay | None) -> None:
        self.katrain = KaTrain()
        self.relay = relay
        self._config = self.katrain.config("engine") | VISITS | engine_config
        self.engine = make_engine(self.katrain, self._config)
        self.game = self._new_game(GAME)

    def _new_game(self, sgf: str) -> Game:
        self.engine.on_new_game()
        game = Game(self.katrain, self.engine, move_tree=KaTrainSGF.parse_sgf(sgf), analyze_fast=True)
        self.katrain.game = game
        return game

    def _settle(self, what: str) -> None:
        wait_for(what, lambda: self.engine.is_idle(), self.katrain)

    def _analysed(self, what: str) -> None:
        nodes = self.game.root.nodes_in_tree
        wait_for(what, lambda: all(node.analysis_complete for node in nodes), self.katrain)
        for node in nodes:
            size = node.board_size[0] * node.board_size[1]
            assert len(node.policy) == size + 1 and len(node.ownership) == size, what
            assert 0 <= node.winrate <= 1 and node.candidate_moves, what

    # ---------------------------------------------------------------- steps

    def loads_a_game(self) -> str:
        self._analysed("the game that was loaded")
        return f"{len(self.game.root.nodes_in_tree)} positions"

    def survives_a_cut(self) -> str:
        assert self.relay is not None
        self.game.analyze_extra("game", visits=40)
        wait_for("the game's analysis to begin", lambda: self.engine.queries_remaining() > 3, self.katrain)
        before = self.relay.accepted
        self.katrain.is_cut_off = True
        self.relay.drop()
        wait_for("a new connection", lambda: self.relay is not None and self.relay.accepted > before, self.katrain)
        self.katrain.is_cut_off = False
        nodes = self.game.root.nodes_in_tree
        wait_for("the queries sent again", lambda: min(node.root_visits for node in nodes) >= 40, self.katrain)
        return f"{self.relay.accepted} connections"

    def plays_with_every_strategy(self) -> str:
        self.game.set_current_node(self._last_node())
        names = [name for name in STRATEGY_REGISTRY if name not in HUMAN_STYLE]
        for name in names:
            before = self.game.current_node
            # KaTrain has no settings for this one, which no menu offers.
            settings = self.katrain.config(f"ai/{AI_SIMPLE_OWNERSHIP if name == AI_SETTLE_STONES else name}")
            move, played = generate_ai_move(self.game, name, settings)
            assert played is not None and played.parent is before, name
            if move.is_pass:
                self.game.undo()
        self._analysed("the moves of the AIs")
        return f"{len(names)} strategies"

    def plays_on_without_a_human_style_network(self) -> str:
        # KaTrain takes the refusal, logs it and plays the network's first choice.
        for name in HUMAN_STYLE:
            _, played = generate_ai_move(self.game, name, self.katrain.config(f"ai/{name}"))
            assert played is not None, name
            refusals = [trouble for trouble in self.katrain.troubles if "humanSLProfile" in trouble]
            assert refusals == self.katrain.troubles != [], self.katrain.troubles
            self.katrain.troubles.clear()
        return ", ".join(HUMAN_STYLE)

    def _last_node(self) -> Any:
        node = self.game.root
        while node.children:
            node = node.children[0]
        return node

    def reports_on_the_game(self) -> str:
        sums, histogram, losses = game_report(self.game, self.katrain.config("trainer/eval_thresholds"))
        for player in "BW":
            assert 0 <= sums[player]["accuracy"] <= 100 and losses[player], sums
        assert sum(row["B"] + row["W"] for row in histogram) == len(losses["B"]) + len(losses["W"])
        self.game.manual_score  # noqa: B018  # a property that computes
        return f"accuracy {sums['B']['accuracy']:.0f} and {sums['W']['accuracy']:.0f}"

    def analyses_in_every_mode(self) -> str:
        modes = ("extra", "equalize", "alternative", "local", "sweep")
        for mode in modes:
            self.game.analyze_extra(mode)
            self._settle(mode)
        self.game.set_region_of_interest([2, 4, 2, 4])
        self.game.analyze_extra("extra")
        self._settle("a region")
        self.game.region_of_interest = None
        return ", ".join((*modes, "region"))

    def ponders_and_stops(self) -> str:
        node = self.game.current_node
        self.game.analyze_extra("ponder")
        start = node.root_visits
        wait_for("pondering", lambda: node.root_visits > start + 100, self.katrain)
        self.game.analyze_extra("stop")
        self._settle("the stop")
        return f"{node.root_visits} visits"

    def plays_itself(self) -> str:
        self.game.selfplay(self.game.current_node.depth + 4, target_b_advantage=2.0)
        self._settle("self-play")
        return f"to move {self.game.current_node.depth}"

    def saves_and_loads_its_analysis(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/game.sgf"
            trainer = self.katrain.config("trainer") | {"save_analysis": True, "save_marks": True}
            self.game.write_sgf(path, trainer)
            self.game = self._new_game(Path(path).read_text(encoding="utf-8"))
        self._settle("the saved game")
        self._analysed("the saved game")
        return f"{len(self.game.root.nodes_in_tree)} positions"

    def plays_with_every_rule_set(self) -> str:
        rules = [
            *dict(BaseEngine.RULESETS_ABBR).values(),
            '{"ko":"SIMPLE","scoring":"AREA","tax":"NONE","suicide":false}',
        ]
        for name in rules:
            self.game = self._new_game(f"(;GM[1]FF[4]SZ[9]KM[7]RU[{name}];B[ee])")
            self._analysed(f"a game under {name}")
        return f"{len(rules)} rule sets"

    def plays_13_by_9_with_handicap(self) -> str:
        self.game = self._new_game(HANDICAP)
        self._analysed("13×9")
        self.game.play(Move.from_gtp("G5", player="B"))
        self._analysed("a move on 13×9")
        return f"{self.game.current_node.format_winrate()}"

    def starts_anew_amid_queries(self) -> str:
        self.game.analyze_extra("game", visits=200)
        self.game = self._new_game(GAME)
        self._analysed("the game after the one that was thrown away")
        self.engine.restart()
        self.game.reset_current_analysis()
        self._analysed("the position after the engine's restart")
        return "new game, restart"


STEPS: tuple[Callable[[Session], str], ...] = (
    Session.loads_a_game,
    Session.survives_a_cut,
    Session.plays_with_every_strategy,
    Session.plays_on_without_a_human_style_network,
    Session.reports_on_the_game,
    Session.analyses_in_every_mode,
    Session.ponders_and_stops,
    Session.plays_itself,
    Session.saves_and_loads_its_analysis,
    Session.plays_with_every_rule_set,
    Session.plays_13_by_9_with_handicap,
    Session.starts_anew_amid_queries,
)


def run(session: Session) -> Iterator[dict[str, Any]]:
    for step in STEPS:
        if step is Session.survives_a_cut and session.relay is None:
            continue
        name = step.__name__.replace("_", " ")
        try:
            yield {"step": name, "detail": step(session)}
            assert not session.katrain.troubles, session.katrain.troubles
        except Exception as error:
            # The edge to whoever runs this: KaTrain's classes raise whatever they like at what they do not expect.
            yield {"step": name, "failed": f"{type(error).__name__}: {error}"}
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--command", help="a shell command that speaks analysis on standard input and output")
    how.add_argument(
        "--katago", nargs=3, metavar=("BINARY", "MODEL", "CONFIG"), help="as KaTrain starts its own engine"
    )
    how.add_argument("--url", help="ws://HOST:PORT[/PATH]")
    given = parser.parse_args()
    relay = None
    if given.command:
        config = {"backend": "custom", "altcommand": given.command}
    elif given.katago:
        config = dict(zip(("katago", "model", "config"), given.katago, strict=True)) | {"backend": "local"}
    else:
        host, _, rest = given.url.removeprefix("ws://").partition(":")
        port, slash, path = rest.partition("/")
        relay = Relay(host, int(port))
        config = {"backend": "remote", "remote_url": f"ws://127.0.0.1:{relay.port}{slash}{path}"}
    session = Session(config, relay)
    steps = []
    for step in run(session):
        steps.append(step)
        print(f"*** {step}", file=sys.__stderr__, flush=True)
    session.engine.shutdown(finish=None)
    print(json.dumps(steps))
    return 1 if "failed" in steps[-1] else 0


if __name__ == "__main__":
    sys.exit(main())
