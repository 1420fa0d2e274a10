"""A network as a PyTorch module against the same network in ONNX Runtime."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'katago-agent[qat]', or ./install.sh dev"
)

from fakes.network_writer import NetworkWriter

from agent.errors import ConversionFailed
from agent.events import SilentReporter
from agent.export.emit import Form, emit
from agent.export.network import Activation, MatMul, MetadataEncoder, Network, RmsNorm
from agent.export.parse import parse_network
from agent.export.session import open_session
from agent.workshop.torch_network import TorchNetwork

# Issue 3: both compute the same function in float32, in another order.
BOUND = 1e-4
BOARDS = ((9, 9), (7, 11), (19, 19))

NETWORKS: dict[str, tuple[int, list[Any], str]] = {
    "relu": (8, ["ordinary", "gpool", "ordinary"], "ACTIVATION_RELU"),
    "mish, nested": (14, [["ordinary", "gpool"], "ordinary"], "ACTIVATION_MISH"),
    "silu, pass head": (15, ["gpool", [["ordinary"]]], "ACTIVATION_SILU"),
    "four policies": (16, ["ordinary"], "ACTIVATION_MISH"),
}


def random_inputs(y_size: int, x_size: int, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(y_size * 100 + x_size)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1.0
    return spatial, random.standard_normal((count, 19)).astype(np.float32)


def largest_difference(network: Network, module: TorchNetwork, folder: Path) -> float:
    buffer = io.BytesIO()
    emit(network, Form.PLAIN, buffer, SilentReporter())
    (folder / "network.onnx").write_bytes(buffer.getvalue())
    session = open_session(folder / "network.onnx")
    worst = 0.0
    for size in BOARDS:
        spatial, global_ = random_inputs(*size)
        with torch.no_grad():
            found = module(torch.from_numpy(spatial), torch.from_numpy(global_))
        for wanted, got in zip(session.run(spatial, global_), found, strict=True):
            worst = max(worst, float(np.abs(wanted - got.numpy()).max()))
    return worst


@pytest.mark.parametrize("name", NETWORKS)
def test_the_module_computes_what_the_graph_computes(name: str, tmp_path: Path) -> None:
    version, blocks, activation = NETWORKS[name]
    source = NetworkWriter(version, blocks, activation=activation, seed=5).write(tmp_path / "net.bin.gz")
    network = parse_network(source)
    assert largest_difference(network, TorchNetwork(network), tmp_path) < BOUND


def test_what_cannot_be_trained_is_refused_by_its_name(tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary"], seed=1).write(tmp_path / "net.bin.gz")
    network = parse_network(source)
    norm = RmsNorm("tip/norm", np.ones(8, np.float32), np.zeros(8, np.float32), 1e-6, True)
    changed = dataclasses.replace(network, trunk=dataclasses.replace(network.trunk, tip_norm=norm))
    with pytest.raises(ConversionFailed, match="tip/norm"):
        TorchNetwork(changed)
    layer, bias = MatMul("players", np.zeros((192, 8), np.float32)), np.zeros(8, np.float32)
    encoder = MetadataEncoder("players", layer, bias, Activation.RELU, layer, bias, Activation.RELU, layer)
    changed = dataclasses.replace(network, trunk=dataclasses.replace(network.trunk, metadata_encoder=encoder))
    with pytest.raises(ConversionFailed, match="players"):
        TorchNetwork(changed)


@pytest.mark.network
def test_a_real_network_is_the_same(network_file: Any, tmp_path: Path) -> None:
    network = parse_network(network_file("b15c192"))
    assert largest_difference(network, TorchNetwork(network), tmp_path) < BOUND
