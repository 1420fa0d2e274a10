"""All formats that can be exported: those that need nothing but the network, and those that need a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.export.artifact import Format
from agent.export.exporters import EXPORTERS, Exporter
from agent.export.job import Writer
from agent.workshop.calibrate import METHOD

# Raised with whatever changes the file; what changes the numbers raises METHOD.
_VERSION: Final = f"1.{METHOD}"


def _onnx_int8() -> Writer:
    from agent.workshop.static_int8 import write_int8

    return write_int8


_ROWS = {**EXPORTERS, Format.ONNX_INT8: Exporter(_onnx_int8, _VERSION, ("onnx", "numpy"), calibrates=True)}
# In the order of the formats, which is that in which `all` makes them: TensorRT's INT8 is made from ONNX's.
FORMATS: Mapping[Format, Exporter] = {format: _ROWS[format] for format in Format if format in _ROWS}
