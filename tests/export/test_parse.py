"""What the reader refuses, and how it says so."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import NetworkFormatError
from agent.export.network import AttentionBlock, FfnBlock, GpoolBlock, NestedBlock, OrdinaryBlock, RmsNorm
from agent.export.parse import parse_network
from tests.fakes.network_writer import NetworkWriter

BLOCKS = ["ordinary", "gpool", ["ordinary"]]


def test_blocks_are_read_in_order(tmp_path: Path) -> None:
    network = parse_network(NetworkWriter(14, BLOCKS).write(tmp_path / "n.bin.gz"))
    assert [type(block) for block in network.trunk.blocks] == [OrdinaryBlock, GpoolBlock, NestedBlock]
    assert network.info.name == "random-v14"
    assert network.trunk.initial_conv.weights.shape == (8, 22, 3, 3)


def test_transformer_blocks_are_read(tmp_path: Path) -> None:
    network = parse_network(NetworkWriter(15, ["shared keys", "fixed", "ffn"], tip="rms").write(tmp_path / "n.bin.gz"))
    shared, fixed, ffn = network.trunk.blocks
    assert isinstance(shared, AttentionBlock)
    assert (shared.heads, shared.kv_heads, shared.query_dim, shared.value_dim) == (6, 2, 4, 3)
    assert isinstance(fixed, AttentionBlock)
    assert fixed.rope is not None
    assert fixed.rope.frequencies.shape == (1, 5, 2)
    assert isinstance(ffn, FfnBlock)
    assert isinstance(network.trunk.tip_norm, RmsNorm)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        (8, replaced(b"random-v8", b"../../etc/passwd"), "no KataGo network"),
        (8, replaced(b"\n8\n", b"\n7\n"), "file version 7 is not supported"),
        (8, replaced(b"\n8\n", b"\n18\n"), "file version 18 is not supported"),
        (8, replaced(b"\n8\n", b"\neight\n"), "'eight' is not a whole number"),
        (8, replaced(b"\n22\n", b"\n23\n"), "23 spatial input channels, but 22"),
        (13, replaced(b"\n40.0\n", b"\n-40.0\n"), "variance_time_multiplier: -40.0 is not positive"),
        (13, replaced(b"\n40.0\n", b"\nnan\n"), "nan is not positive and finite"),
        (15, replaced(b"150.0\n0\n", b"150.0\n2\n"), "metadata encoder version 2 is not supported"),
        (15, replaced(b"150.0\n0\n1\n0\n", b"150.0\n0\n1\n5\n"), "network option A is 5"),
        (
            15,
            replaced(b"trunk\n3\n8\n8\n8\n8\n8\n0\n", b"trunk\n3\n8\n8\n8\n8\n8\n7\n"),
            "norm kind 7 is not supported",
        ),
        (8, replaced(b"trunk\n3\n", b"trunk\n99999999\n"), "number of blocks: 99999999 is outside"),
        (8, replaced(b"trunk\n3\n8\n", b"trunk\n3\n9\n"), "8 output channels, but 9"),
        (
            8,
            replaced(b"gpool_block\nb1", b"dilated_block\nb1"),
            "block 1 (b1) is of kind dilated_block",
        ),
        (8, replaced(b"first\n3\n3\n22\n8\n", b"first\n2\n3\n22\n8\n"), "kernel of 2×3 has no middle"),
        (8, replaced(b"first\n3\n3\n22\n8\n", b"first\n3\n3\n22\n8192\n"), "the file ends too early"),
        (8, replaced(b"first\n3\n3\n22\n8\n", b"first\n19\n19\n8192\n8192\n"), "over 1024 MB"),
        (8, replaced(b"@BIN@", b"@BON@"), "the marker @BIN@ is missing"),
        (8, lambda data: data[: len(data) // 2], "the file ends too early"),
        (8, lambda data: data + b"more", "something behind the end"),
        (8, lambda data: data + b"\n" * (1 << 20) + b"x", "something behind the end"),
        (8, lambda data: b" " * (1 << 20) + data, "more than 4096 blanks"),
        (8, lambda data: b"x" * (1 << 20), "no word of at most 256"),
        (8, lambda data: b"", "the file ends too early"),
        (8, lambda data: b"\xff\xfe" * 100, "no word of at most"),
        (11, replaced(b"ACTIVATION_RELU", b"ACTIVATION_GELU"), "activation ACTIVATION_GELU is not supported"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_refused(
    version: int, change: Callable[[bytes], bytes], message: str, zipped: bool, tmp_path: Path
) -> None:
    data = change(NetworkWriter(version, BLOCKS).data)
    path = tmp_path / "n.bin.gz"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(NetworkFormatError) as error:
        parse_network(path)
    assert message in str(error.value)
    assert str(error.value).startswith("n.bin.gz: ")
    assert error.value.fix


ATTENTION = b"transformer_attention_block\nb0\n6\n2\n4\n3\n1\n1\nb0.norm\n8\n1e-06\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(ATTENTION, ATTENTION.replace(b"6\n2\n4", b"6\n4\n4")), "b0: 6 heads cannot share 4"),
        (replaced(ATTENTION, ATTENTION.replace(b"6\n2\n4", b"6\n0\n4")), "b0: key and value heads: 0 is outside"),
        (
            replaced(ATTENTION, ATTENTION.replace(b"6\n2\n4", b"6\n2\n5")),
            "b0: RoPE turns pairs of channels, but a query has 5",
        ),
        (replaced(ATTENTION, ATTENTION.replace(b"6\n2\n4", b"6\n2\n6")), "b0: 24 output channels, but 36 are needed"),
        (replaced(ATTENTION, ATTENTION.replace(b"4\n3\n1", b"4\n5\n1")), "b0: 6 output channels, but 10 are needed"),
        (replaced(ATTENTION, ATTENTION.replace(b"3\n1\n1", b"3\n2\n1")), "b0: use RoPE: 2 is outside"),
        (replaced(ATTENTION, ATTENTION.replace(b"8\n1e-06", b"9\n1e-06")), "b0.norm: 9 channels, but 8 are needed"),
        (replaced(ATTENTION, ATTENTION.replace(b"1e-06", b"2.5")), "b0.norm: an epsilon of 2.5 is too large"),
        (replaced(b"b0.rope\n2\n2\n2\n", b"b0.rope\n6\n2\n2\n"), "b0.rope: 6 heads, but 2 are needed"),
        (replaced(b"b0.rope\n2\n2\n2\n", b"b0.rope\n2\n4\n2\n"), "b0.rope: 4 pairs of channels, but 2 are needed"),
        (replaced(b"b0.rope\n2\n2\n2\n", b"b0.rope\n2\n2\n3\n"), "b0.rope: 3 axes, but 2 are needed"),
        (replaced(b"b1.rope\n50.0\n", b"b1.rope\n-50.0\n"), "b1.rope: theta: -50.0 is not positive"),
        (replaced(b"b1.rope\n50.0\n", b"b1.rope\n1e99\n"), "b1: RoPE's theta does not fit a float"),
        (replaced(b"b2\n8\n17\n1\n", b"b2\n8\n17\n0\n"), "b2: a feed-forward block without SwiGLU"),
        (replaced(b"b2\n8\n17\n1\n", b"b2\n9\n17\n1\n"), "b2: 9 channels, but 8 are needed"),
        (replaced(b"b2\n8\n17\n1\n", b"b2\n8\n16\n1\n"), "b2: 17 output channels, but 16 are needed"),
        (replaced(b"tip\n8\n0.1\n1\n0\n", b"tip\n8\n0.1\n1\n4\n"), "tip: RMSNorm over groups of 4 channels"),
        (replaced(b"tip\n8\n0.1\n1\n0\n", b"tip\n8\n0.1\n3\n0\n"), "tip: spatial: 3 is outside"),
    ],
)
def test_what_is_refused_of_transformers(change: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "n.bin"
    path.write_bytes(change(NetworkWriter(15, ["shared keys", "one key", "ffn"], tip="spatial rms").data))
    with pytest.raises(NetworkFormatError) as error:
        parse_network(path)
    assert message in str(error.value)
    assert error.value.fix


@pytest.mark.parametrize("bad", [b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff"])
def test_weights_that_are_no_numbers(bad: bytes, tmp_path: Path) -> None:
    data = NetworkWriter(8, BLOCKS).data
    at = data.rindex(b"@BIN@") + 5
    (tmp_path / "n.bin").write_bytes(data[:at] + bad + data[at + 4 :])
    with pytest.raises(NetworkFormatError, match="own: a weight is infinite or not a number"):
        parse_network(tmp_path / "n.bin")


def test_a_negative_variance(tmp_path: Path) -> None:
    data = NetworkWriter(8, BLOCKS).data
    at = data.index(b"b0.pre\n8\n")
    at = data.index(b"@BIN@", data.index(b"@BIN@", at) + 5) + 5
    (tmp_path / "n.bin").write_bytes(data[:at] + b"\x00\x00\x80\xbf" + data[at + 4 :])
    with pytest.raises(NetworkFormatError, match=r"b0\.pre: a variance is negative"):
        parse_network(tmp_path / "n.bin")


def test_deep_nesting_is_refused_before_python_is(tmp_path: Path) -> None:
    blocks: list[object] = ["ordinary"]
    for _ in range(8):
        blocks = [blocks]
    with pytest.raises(NetworkFormatError, match="nested deeper"):
        parse_network(NetworkWriter(8, blocks).write(tmp_path / "n.bin"))


@pytest.mark.parametrize("damage", ["short", "middle", "checksum"])
def test_broken_gzip(damage: str, tmp_path: Path) -> None:
    data = bytearray(gzip.compress(NetworkWriter(8, BLOCKS).data))
    if damage == "short":
        del data[-1:]
    elif damage == "middle":
        data[100:110] = b"\xff" * 10
    else:
        data[-8] ^= 1
    (tmp_path / "n.bin.gz").write_bytes(data)
    with pytest.raises(NetworkFormatError):
        parse_network(tmp_path / "n.bin.gz")


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "missing.bin.gz"
    with pytest.raises(NetworkFormatError) as error:
        parse_network(path)
    assert error.value.fix


def test_text_that_is_no_number(tmp_path: Path) -> None:
    data = NetworkWriter(8, ["ordinary"], text=True).data
    position = data.index(b"first\n3\n3\n22\n8\n1\n1\n") + len(b"first\n3\n3\n22\n8\n1\n1\n")
    (tmp_path / "n.txt").write_bytes(data[:position] + b"zero" + data[data.index(b" ", position) :])
    with pytest.raises(NetworkFormatError, match="'zero' is not a number"):
        parse_network(tmp_path / "n.txt")
