"""Static INT8 as ONNX Runtime's own tool makes it: unsigned activations with any zero point, signed weights for each
channel, biases in 32 bits. Rough, but the same form as ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx


def quantize(source: Path, out: Path) -> None:
    """Quantize the convolutions of the network `source`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Positions(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            random = np.random.default_rng(3)
            self._left = [
                {
                    "spatial": (random.random((4, 22, 9, 9)) < 0.3).astype(np.float32),
                    "global": random.standard_normal((4, 19)).astype(np.float32),
                }
                for _ in range(4)
            ]

        def get_next(self) -> Any:
            return self._left.pop() if self._left else None

    # It advises a preparation that would fold our free board sizes away.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantize_static(
            str(source),
            str(out),
            Positions(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
    finally:
        root.setLevel(level)
    made, original = onnx.load(str(out)), onnx.load(str(source))
    del made.metadata_props[:]
    made.metadata_props.extend(original.metadata_props)
    del made.opset_import[:]
    made.opset_import.extend(original.opset_import)
    onnx.save(made, str(out))
