"""What the report says, as values: everything in it is computed here from the artifacts' manifests, and nothing is
measured. `report_speed.py` tells of speed tables, `report_page.py` makes a page of it all, `report_plots.py` its
pictures. Start at `build_report`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.export.artifact import Accuracy, Artifact, ArtifactManifest, Format, Gate, LayerSensitivity, Speed, is_intact
from agent.workshop.report_speed import FP32, MAIN_BOARD, Standing, TimedTable, main_board, timed
from agent.workshop.speed import PathSpeed, SpeedTable

# The sizes of what others promise, and of what our own gates ask (agent/workshop/gates.py).
HALF, QUARTER = 0.51, 0.28
TWICE = 2.0
ONE_PERCENT = 0.01
ALL = "all"
# Under which a recipe says what an artifact was calibrated on, in words where it has them.
POSITIONS_KEYS = ("calibration positions", "calibration")


class Row(msgspec.Struct, frozen=True):
    """One artifact. `label` names it among the others of its network; `size_ratio` is over the ONNX fp32 artifact of
    the same network; `accuracy` its newest verification over all positions; `speed` the fastest measurement, on the
    report's own machine where there is one; `whole` says that the file can be read and still has the hash."""

    label: str
    format: str
    precision: str
    file: str
    sha256: str
    size_bytes: int
    size_ratio: float | None
    whole: bool
    gate: Gate
    gate_reasons: tuple[str, ...]
    accuracy: Accuracy | None
    slices: tuple[Accuracy, ...]
    speed: Speed | None
    speeds: tuple[Speed, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    tools: dict[str, str]
    recipe: dict[str, str]
    never_run: str


class Claim(msgspec.Struct, frozen=True):
    """A figure that is often told of quantized networks, and what was measured here. `holds` is None where nothing was
    measured."""

    said: str
    measured: str
    holds: bool | None


class Check(msgspec.Struct, frozen=True):
    """A line of the deployment checklist; `by` says what ticks it, or what would."""

    line: str
    ticked: bool
    by: str


class NetworkReport(msgspec.Struct, frozen=True):
    """`tables` are those that `agent speed` made, one for each machine."""

    name: str
    sha256: str
    rows: tuple[Row, ...]
    tables: tuple[TimedTable, ...]
    claims: tuple[Claim, ...]
    checklist: tuple[Check, ...]


class Report(msgspec.Struct, frozen=True):
    """`hardware` is the machine that the report was made on, `made` an ISO date and time in UTC."""

    hardware: str
    made: str
    version: str
    networks: tuple[NetworkReport, ...]


class Deployed(msgspec.Struct, frozen=True):
    """What the tuner chose for a network on this machine, in words, and the memory it was measured to take."""

    network_sha256: str
    words: str
    peak_rss_bytes: int | None


def build_report(
    artifacts: Sequence[Artifact],
    hardware: str,
    made: str,
    version: str,
    deployed: Sequence[Deployed] = (),
    tables: Sequence[SpeedTable] = (),
) -> Report:
    """The report on `artifacts` and speed `tables`, grouped by the network that they are of, in the order given."""
    names = {each.manifest.network.sha256: each.manifest.network.name for each in artifacts}
    names |= {table.network_sha256: table.network for table in tables if table.network_sha256 not in names}
    networks = [
        _network(
            name,
            source,
            [each for each in artifacts if each.manifest.network.sha256 == source],
            [table for table in tables if table.network_sha256 == source],
            hardware,
            next((each for each in deployed if each.network_sha256 == source), None),
        )
        for source, name in names.items()
    ]
    return Report(hardware, made, version, tuple(networks))


def _network(
    name: str,
    sha256: str,
    artifacts: Sequence[Artifact],
    found: Sequence[SpeedTable],
    hardware: str,
    chosen: Deployed | None,
) -> NetworkReport:
    order = [format.value for format in Format]
    artifacts = sorted(artifacts, key=lambda each: (order.index(each.manifest.format), each.manifest.file))
    bases = [each.manifest.size_bytes for each in artifacts if each.format is Format.ONNX_FP32]
    base_bytes = bases[0] if bases else None
    rows = tuple(
        _row(label, each, base_bytes, hardware) for label, each in zip(_labels(artifacts), artifacts, strict=True)
    )
    standings = {row.sha256: _standing(row) for row in rows}
    tables = tuple(timed(table, standings) for table in found)
    return NetworkReport(name, sha256, rows, tables, _claims(rows, tables), _checklist(rows, tables, hardware, chosen))


def _labels(artifacts: Sequence[Artifact]) -> list[str]:
    """The format, and the file where there are several of one format: calibrated and trained, or of two profiles."""
    formats = [each.manifest.format for each in artifacts]
    return [
        format if formats.count(format) == 1 else f"{format} {each.manifest.file}"
        for format, each in zip(formats, artifacts, strict=True)
    ]


def _row(label: str, artifact: Artifact, base_bytes: int | None, hardware: str) -> Row:
    def preference(speed: Speed) -> tuple[bool, bool, float]:
        return speed.hardware == hardware, speed.board == MAIN_BOARD, speed.evals_per_s

    manifest, facts = artifact.manifest, artifact.format.facts
    newest = manifest.verifications[-1].accuracies if manifest.verifications else ()
    return Row(
        label=label,
        format=manifest.format,
        precision=facts.precision,
        file=manifest.file,
        sha256=manifest.sha256,
        size_bytes=manifest.size_bytes,
        size_ratio=manifest.size_bytes / base_bytes if base_bytes else None,
        whole=is_intact(artifact),
        gate=manifest.gate,
        gate_reasons=manifest.gate_reasons,
        accuracy=next((accuracy for accuracy in newest if accuracy.slice == ALL), None),
        slices=tuple(accuracy for accuracy in newest if accuracy.slice != ALL),
        speed=max(manifest.speeds, key=preference, default=None),
        speeds=manifest.speeds,
        sensitivity=manifest.sensitivity,
        tools=manifest.tools,
        recipe=manifest.recipe,
        never_run=_never_run(artifact.format, manifest),
    )


def _standing(row: Row) -> Standing:
    if not row.whole:
        return "no longer here"
    return "gate passed" if row.gate == "passed" else "gate failed" if row.gate == "failed" else "not verified"


def _never_run(format: Format, manifest: ArtifactManifest) -> str:
    if format is Format.COREML_FP16:
        return "Core ML: never run on Apple hardware"
    if format in (Format.TENSORRT_FP16, Format.TENSORRT_INT8) and not manifest.speeds:
        return "TensorRT: never run"
    return ""


# ---------------------------------------------------------------- what is often said, and what was measured


def _claims(rows: Sequence[Row], tables: Sequence[TimedTable]) -> tuple[Claim, ...]:
    return (
        _size_claim("FP16 is half the size", rows, "fp16", HALF),
        _size_claim("INT8 is a quarter of the size", rows, "int8", QUARTER),
        _size_claim("INT8 weights alone are a quarter of the size", rows, "int8-weights", QUARTER),
        _speed_claim(rows, tables),
        _loss_claim(rows),
    )


def _size_claim(said: str, rows: Sequence[Row], precision: str, bound: float) -> Claim:
    sizes = [(row.size_ratio, row.label) for row in rows if row.precision == precision and row.size_ratio is not None]
    if not sizes:
        return Claim(said, "not measured", None)
    ratio, _ = min(sizes)
    text = ", ".join(f"{label} {size:.1%}" for size, label in sorted(sizes))
    return Claim(said, f"{text} of ONNX fp32", ratio <= bound)


def _speed_claim(rows: Sequence[Row], tables: Sequence[TimedTable]) -> Claim:
    """INT8 against the fastest fp32 on the same machine and board, and not against native KataGo alone."""
    said = "INT8 is twice as fast"
    rates = [
        (row.precision, row.label, speed.hardware, speed.board, speed.evals_per_s)
        for row in rows
        for speed in row.speeds
    ]
    rates += [
        (FP32, str(board.fp32_equal.contender), table.hardware, board.board, board.fp32_equal.evals_per_s)
        for table in tables
        for board in table.boards
        if board.fp32_equal is not None
    ]
    pairs = []
    for _, label, hardware, board, rate in (each for each in rates if each[0] == "int8"):
        full = [(own, name) for kind, name, *place, own in rates if kind == FP32 and place == [hardware, board]]
        if full:
            pairs.append((rate / max(full)[0], label, board, max(full)[1]))
    if not pairs:
        return Claim(said, "not measured", None)
    best, label, board, against = max(pairs)
    return Claim(said, f"{best:.2f} × the fastest fp32 on {board} ({label}, against {against})", best >= TWICE)


def _loss_claim(rows: Sequence[Row]) -> Claim:
    said = "INT8 loses less than 1 %"
    measured = [(row.accuracy, row.label) for row in rows if row.precision == "int8" and row.accuracy is not None]
    if not measured:
        return Claim(said, "not measured", None)
    accuracy, label = min(measured, key=lambda pair: pair[0].win_mae)
    text = f"win rate {accuracy.win_mae:.2%} off on average, another best move in {1 - accuracy.top1:.1%} ({label})"
    return Claim(said, text, accuracy.win_mae < ONE_PERCENT)


# ---------------------------------------------------------------- the checklist


def _checklist(
    rows: Sequence[Row], tables: Sequence[TimedTable], hardware: str, chosen: Deployed | None
) -> tuple[Check, ...]:
    calibrated = [
        row.recipe for row in rows if row.precision == "int8" and any(key in row.recipe for key in POSITIONS_KEYS)
    ]
    broken = [row.file for row in rows if not row.whole]
    passed = [row for row in rows if row.gate == "passed" and row.whole]
    failed = [row for row in rows if row.gate == "failed"]
    memory = chosen.peak_rss_bytes if chosen else None
    return (
        Check("Precision chosen", chosen is not None, chosen.words if chosen else "`agent tune` chooses by measuring"),
        Check(
            "Calibration prepared",
            bool(calibrated),
            next(calibrated[0][key] for key in POSITIONS_KEYS if key in calibrated[0])
            if calibrated
            else "`agent positions` makes the calibration positions",
        ),
        Check(
            "Exported",
            bool(rows) and not broken,
            f"{', '.join(broken)}: not the bytes of the manifest"
            if broken
            else f"{len(rows)} artifacts, each with the hash of its manifest",
        ),
        Check(
            "Accuracy within bounds",
            bool(passed),
            "; ".join(
                [f"{len(passed)} passed their gate"]
                + [f"{row.label} failed and is offered to no device" for row in failed]
            ),
        ),
        _speed_check(rows, tables, hardware),
        Check(
            "Memory",
            memory is not None,
            f"{memory / 1e6:.0f} MB peak RSS" if memory is not None else "`agent tune` measures it",
        ),
        Check(
            "Automated",
            chosen is not None,
            "the service takes the tuner's choice at every start" if chosen else "nothing is tuned yet for the service",
        ),
    )


def _speed_check(rows: Sequence[Row], tables: Sequence[TimedTable], hardware: str) -> Check:
    line = "Speed measured on the target"
    here = next((board for table in tables if table.hardware == hardware and (board := main_board(table))), None)
    if here is not None and here.paths:
        found = [("the fastest fp32-equal path", here.fp32_equal), ("the fastest verified artifact", here.verified)]
        words = [f"{name} is {_rate(path)}" for name, path in found if path is not None]
        return Check(line, True, f"on {here.board}, " + "; ".join(words or [_rate(here.paths[0].path)]))
    count = sum(speed.hardware == hardware for row in rows for speed in row.speeds)
    if count:
        return Check(line, True, f"{count} measurements on {hardware}")
    return Check(line, False, f"`agent speed` on the target; here: {hardware}")


def _rate(path: PathSpeed) -> str:
    ratio = "" if path.ratio is None else f", {path.ratio:.2f} × native KataGo"
    share = "" if path.share is None else f", {path.share:.0%} of the limit of {path.limit}"
    return f"{path.contender} with {path.evals_per_s:.1f} evals/s{ratio}{share}"
