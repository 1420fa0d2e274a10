"""What the writer of a format is told, and what it tells. `exporters.py` has the table of writers.

A writer writes one file (or, for Core ML, a folder) and knows nothing of manifests, proofs and names: those are
`publish.py`'s. It raises ConversionFailed, ToolMissing, CalibrationError or StorageFull.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.errors import ConversionFailed
from agent.events import Reporter
from agent.export.artifact import Format, LayerSensitivity
from agent.export.info import NetworkInfo
from agent.export.network import Network

ANY_BOARD = "1x1 to 19x19"


def _nothing_made(format: Format) -> Path:
    raise ConversionFailed(f"there is no {format.value} to start from", fix=f"Export to {format.value} as well.")


@dataclass(frozen=True)
class Job:
    """One artifact to write, to `out`. The folder of `out` is the writer's own until it returns: what else it leaves
    there is thrown away. `out` does not exist yet and ends in the format's suffix.

    `source` is the network's own file, `info` what it says, with its hash and, as `precision`, the format's; a writer
    that stores the info in the artifact stores this one. `network()` is the parsed network with that info. `onnx()` is
    the ONNX fp32 artifact of the same network in its plain form (convolutions as they are), which ONNX Runtime has run;
    it is made first where it is not there. `calibration` is a file of positions (`workshop/position_set.py`) or None.
    `made` gives the artifact of another format in the same way as `onnx()`. In `keeps`, where the artifacts go, a
    writer may keep hidden files that make the next export faster (None: nothing is kept).
    """

    source: Path
    info: NetworkInfo
    out: Path
    network: Callable[[], Network]
    onnx: Callable[[], Path]
    calibration: Path | None
    reporter: Reporter
    made: Callable[[Format], Path] = _nothing_made
    keeps: Path | None = None

    def in_form(self, form: str) -> Network:
        """The network, its info saying which form it is written in."""
        network = self.network()
        return dataclasses.replace(network, info=msgspec.structs.replace(network.info, form=form))


@dataclass(frozen=True)
class Written:
    """What a writer did. `recipe` is what a reader of the manifest wants to know of how it was made, as text. `form` is
    the graph's (`emit.Form`, or a word of the writer's). `board_sizes` is what the artifact takes: ANY_BOARD, or the
    sizes it was made for as "19x19, 13x13". `sensitivity` is for the manifest, too."""

    recipe: Mapping[str, str] = field(default_factory=dict)
    form: str = "plain"
    board_sizes: str = ANY_BOARD
    sensitivity: tuple[LayerSensitivity, ...] = ()


Writer = Callable[[Job], Written]
