"""The report's pictures, as SVG that stands in the page. The one owner of matplotlib. Knows no manifest: it is given
the report's values. The same report gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.errors import ToolMissing, install_extra
from agent.export.artifact import QUANTILES, LayerSensitivity
from agent.workshop.report import NetworkReport, Row
from agent.workshop.report_speed import MAIN_BOARD, Standing, TimedBoard
from agent.workshop.speed import PathSpeed

_PASSED, _FAILED, _UNKNOWN, _NATIVE = "#2a7d4f", "#b3402e", "#7a7f87", "#c98a1b"
_GATE_COLOURS = {"passed": _PASSED, "failed": _FAILED, "not verified": _UNKNOWN}
_STANDING_COLOURS: Final[Mapping[Standing, str]] = {
    "fp32-equal": "#2f6690",
    "gate passed": _PASSED,
    "gate failed": _FAILED,
    "not verified": _UNKNOWN,
    "no longer here": "#c8ccd1",
}
_WIDTH_IN, _ROW_IN, _FRAME_IN = 7.2, 0.28, 1.1
# Errors below this are the printing of a float; a logarithmic axis begins here.
_SMALLEST_ERROR = 1e-6


def plots(report: NetworkReport) -> dict[str, str]:
    """Title → SVG, of those pictures that there are figures for.

    Raises:
        ToolMissing: matplotlib is not installed.
    """
    pictures = {"Size": _sizes(report.rows)} if report.rows else {}
    distributed = [row for row in report.rows if row.accuracy and row.accuracy.win_quantiles]
    if distributed:
        pictures["Win-rate error: share of positions within it"] = _distribution(distributed)
    judged = [row for row in report.rows if row.accuracy and row.size_ratio]
    if judged:
        pictures["Size against accuracy"] = _trade(judged)
    boards = {
        f"Speed on {board.board.replace('x', '×')}, {table.hardware}": _paths(board)
        for table in report.tables
        for board in table.boards
        if board.paths
    }
    timed = [row for row in report.rows if row.speed]
    if boards:
        pictures |= boards
    elif timed:
        for hardware in dict.fromkeys(row.speed.hardware for row in timed if row.speed):
            pictures[f"Speed, {hardware}"] = _speeds(
                [row for row in timed if row.speed and row.speed.hardware == hardware]
            )
    layered = next((row for row in report.rows if row.sensitivity), None)
    if layered:
        pictures[f"What each layer costs in INT8 ({layered.label})"] = _sensitivity(layered.sensitivity)
    return pictures


def _sizes(rows: Sequence[Row]) -> str:
    figure, axes = _figure(len(rows))
    for place, row in enumerate(rows):
        size_mb = row.size_bytes / 1e6
        axes.barh(place, size_mb, color=_GATE_COLOURS[row.gate])
        ratio = f"  {row.size_ratio:.0%}" if row.size_ratio else ""
        axes.annotate(f" {size_mb:.1f} MB{ratio}", (size_mb, place), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows])
    axes.margins(x=0.22)
    axes.set_xlabel("MB, and share of ONNX fp32 (green: gate passed, red: failed, grey: not verified)")
    axes.invert_yaxis()
    return _svg(figure)


def _distribution(rows: Sequence[Row]) -> str:
    figure, axes = _figure(10)
    for row in rows:
        assert row.accuracy is not None
        errors = [max(error, _SMALLEST_ERROR) for error in row.accuracy.win_quantiles]
        axes.plot(errors, QUANTILES, marker=".", label=_plain(row.label))
    axes.set_xscale("log")
    axes.set_xlabel("absolute error of the win rate")
    axes.set_ylabel("share of positions")
    axes.legend(fontsize=7)
    axes.set_ylim(0, 1.02)
    return _svg(figure)


def _trade(rows: Sequence[Row]) -> str:
    figure, axes = _figure(10)
    for row in rows:
        assert row.accuracy is not None and row.size_ratio is not None
        point = (row.size_ratio, max(row.accuracy.policy_kl, _SMALLEST_ERROR))
        axes.scatter(*point, color=_GATE_COLOURS[row.gate])
        axes.annotate(_plain(row.label), point, textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set_yscale("log")
    axes.margins(0.15)
    axes.set_xlabel("share of ONNX fp32's size")
    axes.set_ylabel("policy KL to fp32 (nats)")
    return _svg(figure)


def _speeds(rows: Sequence[Row]) -> str:
    figure, axes = _figure(len(rows))
    for place, row in enumerate(rows):
        assert row.speed is not None
        axes.barh(place, row.speed.evals_per_s, color=_GATE_COLOURS[row.gate])
        ratio = f"  {row.speed.native_ratio:.2f} × native" if row.speed.native_ratio else ""
        ratio += "" if row.speed.board == MAIN_BOARD else f"  on {row.speed.board.replace('x', '×')}"
        axes.annotate(f" {row.speed.evals_per_s:.1f}{ratio}", (row.speed.evals_per_s, place), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows])
    natives = [
        row.speed.evals_per_s / row.speed.native_ratio
        for row in rows
        if row.speed and row.speed.native_ratio and row.speed.board == MAIN_BOARD
    ]
    if natives:
        axes.axvline(sum(natives) / len(natives), color=_NATIVE, linestyle="--", label="native KataGo, best setting")
        axes.legend(fontsize=7)
    axes.margins(x=0.25)
    axes.set_xlabel("evaluations/s of the network alone, on 19×19 where nothing else is said")
    axes.invert_yaxis()
    return _svg(figure)


def _paths(board: TimedBoard) -> str:
    """Also what no artifact is: our kernels, the converted network, and native KataGo."""
    figure, axes = _figure(len(board.paths) + (board.native is not None) + 1)
    bars = [
        (_plain(str(each.path.contender)), each.path.evals_per_s, _words(each.path), _STANDING_COLOURS[each.standing])
        for each in board.paths
    ]
    if board.native is not None:
        share = "" if board.native_share is None else f"{board.native_share:.0%} of limit"
        bars.append(("native KataGo", board.native.evals_per_s, share, _NATIVE))
    bars.sort(key=lambda bar: -bar[1])
    for place, (_, rate, words, colour) in enumerate(bars):
        axes.barh(place, rate, color=colour)
        axes.annotate(f" {rate:.1f}  {words}", (rate, place), va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [bar[0] for bar in bars])
    axes.margins(x=0.42)
    axes.set_xlabel("evaluations/s; limit: what the processor's arithmetic allows")
    kinds = list(dict.fromkeys(each.standing for each in board.paths))
    handles = [axes.barh(0, 0, color=_STANDING_COLOURS[kind], label=kind) for kind in kinds]
    axes.legend(handles=handles, fontsize=7, loc="lower right")
    axes.invert_yaxis()
    return _svg(figure)


def _words(path: PathSpeed) -> str:
    ratio = "" if path.ratio is None else f"{path.ratio:.2f} × native  "
    return ratio + ("" if path.share is None else f"{path.share:.0%} of limit")


def _sensitivity(layers: Sequence[LayerSensitivity]) -> str:
    figure, axes = _figure(max(6, round(len(layers) * 0.6)))
    kept = list(dict.fromkeys(layer.kept for layer in layers))
    colours = dict(zip(kept, (_PASSED, _NATIVE, _UNKNOWN, _FAILED), strict=False))
    names = [_plain(layer.layer) for layer in layers]
    errors = [max(layer.policy_kl, _SMALLEST_ERROR) for layer in layers]
    axes.barh(names, errors, color=[colours.get(layer.kept, _UNKNOWN) for layer in layers])
    for name, colour in colours.items():
        axes.barh([names[0]], [0], color=colour, label=name)
    axes.set_xscale("log")
    axes.tick_params(axis="y", labelsize=5)
    axes.legend(fontsize=7, title="kept in", title_fontsize=7)
    axes.set_xlabel("policy KL with this layer alone in INT8 (nats)")
    axes.invert_yaxis()
    return _svg(figure)


def _plain(name: str) -> str:
    """For matplotlib, to which what stands between two dollars is a formula."""
    return name.replace("$", r"\$")


def _figure(rows: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolMissing("the report's plots need matplotlib", fix=install_extra("report")) from error
    figure = Figure(figsize=(_WIDTH_IN, _FRAME_IN + _ROW_IN * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: Any) -> str:
    """Without date and with fixed ids; text stays text, so that it can be searched and read aloud."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "katago-agent", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]
