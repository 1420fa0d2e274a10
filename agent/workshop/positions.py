"""Makes a set of positions out of self-play or of game records. Start at `self_play_set`.

Self-play is resumable: each finished wave stands in a journal beside the set, and a run that was killed goes on with
the next wave and gives the very set that it would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from agent.engine.backends.interface import Backend
from agent.errors import CalibrationError
from agent.events import Reporter, WorkshopProgress
from agent.model import disk
from agent.workshop.journal import Journal, open_journal
from agent.workshop.position_set import PositionSet
from agent.workshop.records import GameRecord, sample_positions
from agent.workshop.selfplay import Wave, play_wave, waves

DEFAULT_POSITIONS = 1000
# So many of each game leave them some 20 moves apart on 19×19; neighbours would tell nothing new.
POSITIONS_PER_GAME = 8
# More than this of one game, and the set hangs on a few games.
MOST_POSITIONS_PER_GAME = 20


class PlayedWave(msgspec.Struct, frozen=True):
    """One line of the journal."""

    number: int
    games: int
    records: tuple[GameRecord, ...]


def self_play_set(
    backend: Backend,
    out: Path,
    reporter: Reporter,
    *,
    positions: int = DEFAULT_POSITIONS,
    games: int = 0,
    seed: int = 1,
) -> PositionSet:
    """Play `games` (0: enough for POSITIONS_PER_GAME of each) and write `positions` of them to `out`.

    Raises:
        CalibrationError: `out` cannot be written, or the network's answers are no numbers.
        JournalUnusable: see `open_journal`.
        BackendUnavailable: see `Backend.evaluate`.
    """
    _require_no_folder(out)
    network = backend.network
    games = games or -(-positions // POSITIONS_PER_GAME)
    # Not the number of games: a larger run keeps what a smaller one has played.
    key = f"self-play 1 of {network.name} {network.sha256} {network.precision} {network.form}, seed {seed}"
    with open_journal(out.with_name(out.name + ".journal"), key, PlayedWave) as journal:
        records = _play(backend, waves(seed, games), journal, reporter)
        source = f"self-play of {network.name}, {network.precision}, seed {seed}, {len(records)} games"
        made = sample_positions(records, positions, seed, prefer_pass_alive=network.prefer_pass_alive, source=source)
        made.save(out)
        journal.remove()
    return made


def _play(backend: Backend, todo: Sequence[Wave], journal: Journal[PlayedWave], reporter: Reporter) -> list[GameRecord]:
    """The records of all waves, those in the journal and those played now."""
    played = {(piece.number, piece.games): piece for piece in journal.pieces}
    total = sum(wave.games for wave in todo)
    records: list[GameRecord] = []
    for wave in todo:
        reporter.report(WorkshopProgress("playing games", len(records), total))
        piece = played.get((wave.number, wave.games))
        if piece is None:
            piece = PlayedWave(wave.number, wave.games, play_wave(backend, wave))
            journal.add(piece)
        records += piece.records
    reporter.report(WorkshopProgress("playing games", total, total))
    return records


def record_set(
    records: Sequence[GameRecord],
    out: Path,
    *,
    positions: int = DEFAULT_POSITIONS,
    games: int = 0,
    seed: int = 1,
    prefer_pass_alive: bool = False,
    source: str = "",
    most_per_game: int = MOST_POSITIONS_PER_GAME,
) -> PositionSet:
    """Write `positions` out of `games` of the records (0: all of them, if need be) to `out`. Which, the seed says.

    Raises:
        CalibrationError: fewer games than asked for, or so few that one would give more than `most_per_game`;
            or `out` cannot be written.
    """
    _require_no_folder(out)
    usable = [record for record in records if record.positions]
    needed = max(games, -(-positions // most_per_game))
    if len(usable) < needed:
        raise CalibrationError(f"{source} has {len(usable)} games that can be used; {needed} are needed")
    order = np.random.default_rng(seed).permutation(len(usable))[: games or positions]
    chosen = [usable[index] for index in sorted(order)]
    made = sample_positions(chosen, positions, seed, prefer_pass_alive=prefer_pass_alive, source=source)
    if len(made) < positions:
        raise CalibrationError(f"{source} has {len(made)} positions in {len(chosen)} games; {positions} are needed")
    made.save(out)
    return made


def _require_no_folder(out: Path) -> None:
    """Before minutes of play end there."""
    if disk.is_folder(out):
        raise CalibrationError(f"{out} is a folder", fix="Name the file to write with --out.")
