"""The process that converts a network is ended when it does not end by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.small_networks import Listener

from agent.errors import ConversionFailed
from agent.model.conversion import convert_apart


def test_a_conversion_that_hangs_is_ended_though_its_output_stays_open(tmp_path: Path) -> None:
    source, out = tmp_path / "n.bin.gz", tmp_path / "n.onnx"
    os.mkfifo(source)  # to be read for ever, since nobody writes
    with pytest.raises(ConversionFailed, match="took more than 1 s"):
        convert_apart(source, out, Listener(), limit_s=1.0)
    assert not out.exists()
