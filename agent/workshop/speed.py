"""The speed table: every path that runs a network here, in turns with a native KataGo, and each one's share of what the
machine's arithmetic allows. Start at `measure_speeds`.

First each path and the native engine find their own best way on the board in question; then rounds in which all take
turns, so that heat and neighbours meet all alike. Figures are medians of the rounds, ratios medians of each round's
ratio.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.tuning import Contender, SetAside
from agent.engine.way import Way
from agent.errors import BackendUnavailable, GateRefused
from agent.events import Benchmarking, Reporter
from agent.export.artifact import ArtifactManifest, Speed, read_artifact
from agent.export.parse import parse_network
from agent.model import disk
from agent.workshop.amend import amend
from agent.workshop.limits import Limits, Peaks, Products, count_products, limits_of
from agent.workshop.measurer import ChildMeasurer
from agent.workshop.native_speed import NativeSetting, NativeSpeed, native_settings
from agent.workshop.sweep import Findings, Option, Sample, race

log = logging.getLogger(__name__)

# JSON, but no manifest of anything.
FILE: Final = "speed.table"

ROUNDS: Final = 7
TURN_S: Final = 1.5
# For each path to find its best way on a board.
SEARCH_S: Final = 30.0
# MNN does Winograd's method by itself: mnn-lean made 108 % of what direct arithmetic allows (b15c192, 19×19).
_MNN: Final = ("mnn", "mnn-lean")
# What a native setting is looked at for.
_NATIVE_LOOK_S: Final = 1.0


class PathSpeed(msgspec.Struct, frozen=True):
    """One contender on one board at its best way: evaluations/s (median), its `ratio` to the native engine (None: there
    was none), and its share of the limit of the arithmetic that it uses, named in `limit`."""

    contender: Contender
    board: str
    threads: int
    sessions: int
    batch: int
    evals_per_s: float
    rounds: tuple[float, ...]
    ratio: float | None
    limit: str
    share: float | None
    peak_rss_bytes: int


class NativeResult(msgspec.Struct, frozen=True):
    setting: str
    evals_per_s: float
    rounds: tuple[float, ...]
    tried: dict[str, float]


class BoardSpeeds(msgspec.Struct, frozen=True):
    board: str
    products: Products
    limits: Limits
    native: NativeResult | None
    paths: tuple[PathSpeed, ...]
    set_aside: tuple[SetAside, ...]


class SpeedTable(msgspec.Struct, frozen=True):
    """Of one network on one machine. `load` is the machine's load average before and after: above the number of cores
    somebody else was at work and the figures are worth little."""

    network: str
    network_sha256: str
    hardware: str
    versions: dict[str, str]
    peaks: Peaks
    boards: tuple[BoardSpeeds, ...]
    load: tuple[float, float]


@dataclass(frozen=True)
class SpeedOptions:
    """`ways` that a path may run in; `native` a katago command, None for none; on boards of `sides`."""

    ways: tuple[Way, ...]
    cores: int
    native: Path | None
    sides: tuple[int, ...] = (19, 13, 9)
    rounds: int = ROUNDS
    turn_s: float = TURN_S


def measure_speeds(
    network: Path,
    contenders: Sequence[Contender],
    peaks: Peaks,
    options: SpeedOptions,
    reporter: Reporter,
    clock: Callable[[], float],
    open_measurer: Callable[[Sequence[Contender]], ChildMeasurer],
) -> tuple[BoardSpeeds, ...]:
    """Measure `contenders` of the network file `network` on every board, the native engine among them.

    Raises:
        BenchFailed: the native engine does not run.
        NetworkFormatError: `network` cannot be read.
    """
    parsed = parse_network(network)
    products = {side: count_products(parsed, side, side) for side in options.sides}
    del parsed
    boards = []
    with open_measurer(contenders) as measurer:
        for side in options.sides:
            at_side = _AtSide(measurer, side)
            # Before all that takes minutes: a command that does not run is told at once.
            chosen = None
            if options.native is not None:
                chosen = _best_native(options.native, network, side, options.cores, reporter)
            best, findings = _best_ways(contenders, at_side, options, reporter, clock, side)
            limits, counted = limits_of(peaks, products[side]), products[side]
            boards.append(
                _take_turns(network, contenders, best, findings, at_side, options, chosen, reporter, counted, limits)
            )
    return tuple(boards)


def _best_ways(
    contenders: Sequence[Contender],
    measurer: _AtSide,
    options: SpeedOptions,
    reporter: Reporter,
    clock: Callable[[], float],
    side: int,
) -> tuple[list[Option], Findings]:
    """A race for each contender by itself: the best way of each, and all that was found."""
    best, findings = [], Findings()
    for number, contender in enumerate(contenders):

        def tell(what: str, done: int, total: int, about: str = str(contender), index: int = number) -> None:
            del done, total
            reporter.report(Benchmarking(f"{side}x{side}, {about}: {what}", index, len(contenders)))

        own = race([number], options.ways, measurer, clock, SEARCH_S, tell)
        findings.samples |= own.samples
        findings.fallen |= own.fallen
        # Nothing is given away for a smaller batch here, as a choice for the search would.
        if (option := own.best_of(number)) is not None:
            best.append(option)
    return best, findings


def _take_turns(
    network: Path,
    contenders: Sequence[Contender],
    best: Sequence[Option],
    findings: Findings,
    measurer: _AtSide,
    options: SpeedOptions,
    chosen: tuple[NativeSetting, dict[str, float]] | None,
    reporter: Reporter,
    products: Products,
    limits: Limits,
) -> BoardSpeeds:
    board = f"{measurer.side}x{measurer.side}"
    native: NativeResult | None = None
    if options.native is None or chosen is None:
        rates, _ = _play_rounds(best, findings, measurer, None, options, reporter)
    else:
        setting, tried = chosen
        with NativeSpeed(options.native, network, measurer.side, setting) as process:
            rates, own = _play_rounds(best, findings, measurer, process, options, reporter)
        native = NativeResult(str(setting), statistics.median(own), tuple(own), tried)
    paths = [
        _path(contenders[option.contender], option, board, rates[option], native, findings, limits)
        for option in best
        if option.contender not in findings.fallen
    ]
    return BoardSpeeds(
        board=board,
        products=products,
        limits=limits,
        native=native,
        paths=tuple(sorted(paths, key=lambda path: -path.evals_per_s)),
        set_aside=tuple(SetAside(contenders[number], reason) for number, reason in sorted(findings.fallen.items())),
    )


def _play_rounds(
    best: Sequence[Option],
    findings: Findings,
    measurer: _AtSide,
    native: NativeSpeed | None,
    options: SpeedOptions,
    reporter: Reporter,
) -> tuple[dict[Option, list[float]], list[float]]:
    """Evaluations/s of each option and of the native engine in each round. Who fails falls out of `findings`."""
    rates: dict[Option, list[float]] = {option: [] for option in best}
    native_rates: list[float] = []
    for number in range(options.rounds):
        reporter.report(Benchmarking(f"{measurer.side}x{measurer.side}, round {number + 1}", number, options.rounds))
        if native is not None:
            evaluations, seconds = native.measure(options.turn_s)
            native_rates.append(evaluations / seconds)
        for option in best:
            if option.contender in findings.fallen:
                continue
            try:
                sample = measurer.measure(option, options.turn_s)
            except BackendUnavailable as error:
                findings.fallen[option.contender] = str(error)
                continue
            findings.samples[option].append(sample)
            rates[option].append(sample.evaluations / sample.seconds)
    return rates, native_rates


def _best_native(
    command: Path, network: Path, side: int, cores: int, reporter: Reporter
) -> tuple[NativeSetting, dict[str, float]]:
    tried: dict[NativeSetting, float] = {}
    settings = native_settings(cores)
    for number, setting in enumerate(settings):
        reporter.report(Benchmarking(f"{side}x{side}, native: {setting}", number, len(settings)))
        with NativeSpeed(command, network, side, setting) as native:
            native.measure(_NATIVE_LOOK_S)
            evaluations, seconds = native.measure(_NATIVE_LOOK_S)
            tried[setting] = evaluations / seconds
    return max(tried, key=lambda setting: tried[setting]), {str(setting): rate for setting, rate in tried.items()}


def _path(
    contender: Contender,
    option: Option,
    board: str,
    rates: list[float],
    native: NativeResult | None,
    findings: Findings,
    limits: Limits,
) -> PathSpeed:
    median = statistics.median(rates)
    limit, ceiling = _limit_of(contender, limits)
    ratio = None
    if native is not None:
        ratio = statistics.median(own / other for own, other in zip(rates, native.rounds, strict=True))
    return PathSpeed(
        contender=contender,
        board=board,
        threads=option.way.threads,
        sessions=option.way.sessions,
        batch=option.way.batch,
        evals_per_s=median,
        rounds=tuple(rates),
        ratio=ratio,
        limit=limit,
        share=median / ceiling if ceiling else None,
        peak_rss_bytes=findings.peak_rss_bytes(option),
    )


def _limit_of(contender: Contender, limits: Limits) -> tuple[str, float]:
    """The arithmetic that a path uses, as far as we know it. Weight-only INT8 computes in fp32, and so does fp16 on
    processors without its arithmetic."""
    if contender.precision == "int8":
        if limits.int8_dot_direct:
            return "int8 with dot products, direct", limits.int8_dot_direct
        return "int8 without dot products, direct", limits.int8_direct
    if contender.backend == "core":
        return "fp32, F(5×5, 3×3)", limits.fp32_winograd_5
    if contender.form == "winograd" or contender.backend in _MNN:
        return "fp32, F(4×4, 3×3)", limits.fp32_winograd
    return "fp32, direct", limits.fp32_direct


def with_left_out(boards: Sequence[BoardSpeeds], left_out: Sequence[SetAside]) -> tuple[BoardSpeeds, ...]:
    """`boards` with what was not let in told beside what failed, once: a figure that is missing has its reason."""
    first, rest = boards[:1], boards[1:]
    told = [msgspec.structs.replace(board, set_aside=(*board.set_aside, *left_out)) for board in first]
    return (*told, *rest)


def write_speeds(boards: Sequence[BoardSpeeds], hardware: str) -> int:
    """Put the figures into the manifests of the artifacts among the paths, in the place of older ones from the same
    hardware and board; returns how many manifests were written.

    Raises:
        ConversionFailed: a folder cannot be written to.
    """
    timed = {board.board for board in boards}
    by_file: dict[tuple[str, str], list[Speed]] = {}
    for path in (path for board in boards for path in board.paths):
        by_file.setdefault((path.contender.path, path.contender.sha256), []).append(
            Speed(
                hardware=hardware,
                backend=path.contender.backend,
                board=path.board,
                threads=path.threads,
                batch=path.batch,
                evals_per_s=round(path.evals_per_s, 3),
                native_ratio=None if path.ratio is None else round(path.ratio, 3),
            )
        )
    written = 0
    for (file, sha256), speeds in by_file.items():
        if read_artifact(Path(file)) is None:
            continue  # the converted network, or the network's own file

        def change(now: ArtifactManifest, new: Sequence[Speed] = speeds) -> ArtifactManifest:
            others = [speed for speed in now.speeds if speed.hardware != hardware or speed.board not in timed]
            return msgspec.structs.replace(now, speeds=(*others, *new))

        try:
            amend(Path(file), sha256, change)
            written += 1
        except GateRefused as error:
            log.warning("%s", error)
    return written


def keep_table(folder: Path, table: SpeedTable) -> None:
    """Put the table beside the network's artifacts, in the place of an older one: also for the paths that have no
    manifest, the converted network and our own kernels. What this hardware, with the same versions, did on boards that
    were not timed now stays.

    Raises:
        StorageFull, StoreUnwritable: an older table is still there.
    """
    older = read_table(folder)
    if older is not None and (older.hardware, older.versions) == (table.hardware, table.versions):
        timed = {board.board for board in table.boards}
        kept = tuple(board for board in older.boards if board.board not in timed)
        table = msgspec.structs.replace(table, boards=(*table.boards, *kept))
    with disk.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(folder / FILE, msgspec.json.format(msgspec.json.encode(table), indent=1))


def read_table(folder: Path) -> SpeedTable | None:
    """What `keep_table` put there; None where there is none, or one that this version cannot read."""
    try:
        if disk.is_special(folder / FILE):
            raise OSError("it is no file")
        return msgspec.json.decode((folder / FILE).read_bytes(), type=SpeedTable)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        log.warning("%s is left out, `agent speed` writes it anew: %s", folder / FILE, error)
        return None


class _AtSide:
    """A `Measurer` on one board."""

    def __init__(self, measurer: ChildMeasurer, side: int) -> None:
        self._measurer, self.side = measurer, side

    def measure(self, option: Option, seconds: float) -> Sample:
        return self._measurer.measure(option, seconds, self.side)
