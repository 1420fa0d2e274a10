"""The way from a position to a network's answer, against what native KataGo printed (tests/golden/README.md).

What is compared is everything at once: rules, features, the converted network, post-processing.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.engine.backends import Backend, open_backend
from agent.engine.backends.human_style import imitating
from agent.engine.game import Game
from agent.engine.messages import Position, RawReport
from agent.engine.points import BLACK, WHITE, parse_color, parse_vertex
from agent.engine.raw import raw_evaluation
from agent.engine.rules import parse_rules, rules_to_dict
from agent.export.artifact import Format
from agent.export.convert import convert
from tests.fakes.exported_network import exported

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = ("raw_nn", "raw_nn_edges", "raw_nn_encore")
KATAGO_GTP_OPTIMISM = 0.2


class Differences(NamedTuple):
    """The largest absolute differences of one or more answers; `legality` counts points."""

    legality: int
    policy: float
    win: float
    lead: float
    score: float
    ownership: float
    shortterm: float


BOUNDS = Differences(legality=0, policy=1e-4, win=1e-4, lead=0.01, score=0.01, ownership=1e-3, shortterm=0.01)


@pytest.mark.network
@pytest.mark.parametrize("file", FILES)
def test_b15c192_answers_as_native_katago(
    file: str, converted_network: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    check_all(file, "b15c192", converted_network("b15c192"), record_property)


@pytest.mark.network
def test_b18c384nbt_answers_as_native_katago(
    converted_network: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    check_all("raw_nn", "b18c384nbt", converted_network("b18c384nbt"), record_property)


@pytest.mark.network
def test_b10c384h6nbttflrs_answers_as_native_katago(
    converted_network: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    check_all("raw_nn", "b10c384h6nbttflrs", converted_network("b10c384h6nbttflrs"), record_property)


@pytest.mark.network
@pytest.mark.parametrize(
    ("alias", "file", "every"),
    [
        ("b15c192", "raw_nn", 1),
        ("b15c192", "raw_nn_edges", 1),
        ("b18c384nbt", "raw_nn", 4),
        ("b10c384h6nbttflrs", "raw_nn", 8),
    ],
)
def test_the_core_s_kernels_answer_as_native_katago(
    alias: str,
    file: str,
    every: int,
    network_file: Callable[[str], Path],
    record_property: Callable[[str, object], None],
) -> None:
    check_all(file, alias, network_file(alias), record_property, backend="core", every=every)


@pytest.mark.network
@pytest.mark.parametrize("format", [Format.MNN_FP32, Format.TFLITE_FP32])
def test_other_runtimes_answer_as_native_katago(
    format: Format,
    tmp_path: Path,
    network_file: Callable[[str], Path],
    record_property: Callable[[str, object], None],
) -> None:
    artifact = exported(network_file("b15c192"), format, tmp_path)
    check_all("raw_nn", "b15c192", artifact.path, record_property, backend=format.facts.backend, every=3)


@pytest.mark.parametrize("profile", ["rank_20k", "rank_5k", "rank_9d", "preaz_1d", "proyear_1850", "proyear_2022"])
def test_a_human_style_network_imitates_as_in_native_katago(
    profile: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    convert(GOLDEN / "human_network.gz", tmp_path / "n.onnx", human_profile=profile)
    check_all("raw_nn_human", profile, tmp_path / "n.onnx", record_property)


@pytest.mark.parametrize("profiles", [["rank_20k", "rank_5k", "rank_9d"], ["preaz_1d", "proyear_1850", "proyear_2022"]])
def test_the_core_s_human_style_network_imitates_one_after_the_other(
    profiles: list[str], record_property: Callable[[str, object], None]
) -> None:
    core = open_backend("core", GOLDEN / "human_network.gz", threads=1, human_profile=profiles[-1])
    for profile in profiles:
        compare_all("raw_nn_human", profile, imitating(core, profile), record_property)
    core.close()


def test_an_advantage_is_the_mover_s_as_in_native_katago(record_property: Callable[[str, object], None]) -> None:
    core = open_backend("core", GOLDEN / "human_network.gz", threads=1, human_profile="rank_5k")
    compare_all("raw_nn_advantage", "rank_5k", core, record_property)
    core.close()


@pytest.mark.parametrize("file", FILES)
def test_rules_and_legal_moves_are_those_of_native_katago(file: str) -> None:
    for row in read(file):
        position = position_of(row, file)
        assert rules_to_dict(position.rules) == row["rules_full"]
        for answer in row["nets"].values():
            expected = [point for point, prior in enumerate(golden_policy(answer)) if prior is not None]
            assert list(Game.from_position(position).legal_moves(position.to_play)) == expected


def check_all(
    file: str,
    alias: str,
    model: Path,
    record_property: Callable[[str, object], None],
    *,
    backend: str = "onnxruntime",
    every: int = 1,
) -> None:
    opened = open_backend(backend, model, threads=1)
    try:
        compare_all(file, alias, opened, record_property, every=every)
    finally:
        opened.close()


def compare_all(
    file: str, alias: str, backend: Backend, record_property: Callable[[str, object], None], *, every: int = 1
) -> None:
    """All positions of `file`, or one in `every`."""
    worst = Differences(0, 0, 0, 0, 0, 0, 0)
    for row in itertools.islice(read(file), 0, None, every):
        position = position_of(row, file)
        advantage = row.get("advantage", 0.0)
        report = raw_evaluation(position, position.to_play, 0, KATAGO_GTP_OPTIMISM, backend, advantage=advantage)
        found = differences(report, row["nets"][alias])
        assert all(d <= bound for d, bound in zip(found, BOUNDS, strict=True)), (found, row["rules"], row["moves"])
        worst = Differences(*map(max, worst, found))
    record_property("largest differences", str(worst))


def read(file: str) -> Iterator[dict[str, Any]]:
    with gzip.open(GOLDEN / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def position_of(row: dict[str, Any], file: str) -> Position:
    x_size, y_size = row["size"]

    def point(vertex: str) -> int:
        found = parse_vertex(vertex, x_size, y_size)
        assert found is not None
        return found

    moves = []
    for player, vertex in row["moves"]:
        color = parse_color(player)
        assert color is not None
        moves.append((color, point(vertex)))
    handicap = tuple((BLACK, point(vertex)) for vertex in row["handicap"])
    return Position(
        x_size,
        y_size,
        parse_rules(row["rules"]),
        row["komi"],
        initial_stones=handicap,
        initial_player=WHITE if handicap else BLACK,
        moves=tuple(moves),
        prevent_encore=file != "raw_nn_encore",
    )


def golden_policy(answer: dict[str, Any]) -> list[float | None]:
    return [*answer["policy"], answer["policyPass"]]


def differences(report: RawReport, answer: dict[str, Any]) -> Differences:
    policy = golden_policy(answer)
    both = list(zip(report.policy, policy, strict=True))
    return Differences(
        legality=sum((ours < 0) != (theirs is None) for ours, theirs in both),
        policy=max(abs(ours - theirs) for ours, theirs in both if theirs is not None),
        win=max(
            abs(report.white_win - answer["whiteWin"]),
            abs(report.white_loss - answer["whiteLoss"]),
            abs(report.no_result - answer["noResult"]),
        ),
        lead=abs(report.white_lead - answer["whiteLead"]),
        score=abs(report.white_score_selfplay - answer["whiteScoreSelfplay"]),
        ownership=max(abs(a - b) for a, b in zip(report.ownership, answer["whiteOwnership"], strict=True)),
        shortterm=max(
            abs(report.var_time_left - answer["varTimeLeft"]),
            abs(report.shortterm_winloss_error - answer["shorttermWinlossError"]),
            abs(report.shortterm_score_error - answer["shorttermScoreError"]),
        ),
    )
