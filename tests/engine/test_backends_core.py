"""The core's own kernels, against a plain evaluation in numpy and against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.engine.backends.core import CoreBackend
from agent.engine.backends.human_style import imitating
from agent.engine.backends.interface import Array
from agent.engine.backends.uniform import UniformBackend
from agent.errors import BackendUnavailable, ConfigError
from agent.export.convert import convert
from tests.fakes.backends import ImitatingBackend
from tests.fakes.callers import asked_at_once
from tests.fakes.misfits import MISFITS
from tests.fakes.network_oracle import evaluate
from tests.fakes.network_writer import ACTIVATIONS, ATTENTION, NetworkWriter

BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], ["gpool", "ordinary"], "ordinary"]
# Tiles are 5×5: boards of less than one, of whole ones, and with each length of rest, alike or not on both sides.
SIZES = [(1, 1), (1, 4), (2, 7), (4, 4), (5, 8), (6, 6), (9, 7), (13, 13), (19, 19), (3, 19), (10, 5), (7, 15)]


def inputs(count: int, y_size: int, x_size: int, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32) * np.float32(0.3)


def assert_alone_as_together(backend: CoreBackend, count: int) -> None:
    """To the last bit."""
    spatial, global_ = inputs(count, 19, 19)
    together = backend.evaluate(spatial, global_)
    for index in range(count):
        alone = backend.evaluate(spatial[index : index + 1], global_[index : index + 1])
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[index])


def assert_agrees(writer: NetworkWriter, source: Path, sizes: list[tuple[int, int]], *, generic: bool = False) -> None:
    backend = CoreBackend(writer.write(source), generic=generic)
    for y_size, x_size in sizes:
        spatial, global_ = inputs(3, y_size, x_size)
        outputs = backend.evaluate(spatial, global_)._asdict()
        for index in range(3):
            expected = evaluate(writer.tree, spatial[index].astype(np.float64), global_[index].astype(np.float64))
            for name, values in expected.items():
                found = outputs[name][index]
                assert found.shape == values.shape, (name, y_size, x_size)
                np.testing.assert_allclose(found, values, rtol=1e-4, atol=3e-4, err_msg=f"{name} {y_size}×{x_size}")
    backend.close()


@pytest.mark.parametrize("version", range(8, 18))
def test_every_version_agrees_with_a_plain_evaluation(version: int, tmp_path: Path) -> None:
    assert_agrees(NetworkWriter(version, BLOCKS, seed=version), tmp_path / "n.bin.gz", [(5, 3), (9, 9)])


@pytest.mark.parametrize("generic", [False, True], ids=["best kernels", "generic kernels"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, generic: bool, tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary", "gpool"], seed=3, activation=activation)
    assert_agrees(writer, tmp_path / "n.bin.gz", [(6, 6)], generic=generic)


@pytest.mark.parametrize("generic", [False, True], ids=["best kernels", "generic kernels"])
def test_every_board_size_is_exact(generic: bool, tmp_path: Path) -> None:
    writer = NetworkWriter(14, BLOCKS, seed=1, activation="ACTIVATION_MISH")
    assert_agrees(writer, tmp_path / "n.bin.gz", SIZES, generic=generic)


@pytest.mark.parametrize("channels", [7, 15, 16, 17, 40])
def test_channels_that_do_not_fill_a_panel(channels: int, tmp_path: Path) -> None:
    writer = NetworkWriter(10, ["ordinary", "gpool"], channels=channels, seed=channels)
    assert_agrees(writer, tmp_path / "n.bin.gz", [(5, 5)])


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 1), (3, 2)])
def test_kernels_and_dilations(kernel: int, dilation: int, tmp_path: Path) -> None:
    writer = NetworkWriter(8, ["ordinary", "gpool"], first_kernel=kernel, dilation=dilation)
    assert_agrees(writer, tmp_path / "n.bin.gz", [(3, 3), (7, 7), (2, 9)])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = NetworkWriter(14, BLOCKS, channels=24, activation="ACTIVATION_MISH")
    return writer.write(tmp_path_factory.mktemp("network") / "n.bin.gz")


def test_activations_far_from_zero(source: Path) -> None:
    """Where e^x overflows or vanishes in float32, the kernels still answer as mish does."""
    backend = CoreBackend(source)
    spatial, global_ = inputs(1, 9, 9)
    for scale in (1e-6, 30.0, 1e3, 1e6):
        assert all(np.isfinite(part).all() for part in backend.evaluate(spatial, global_ * np.float32(scale)))


def test_an_answer_does_not_depend_on_the_batch_around_it(source: Path) -> None:
    """To the last bit: blocks of rows are cut elsewhere in another batch, sums are not."""
    assert_alone_as_together(CoreBackend(source), 9)


def test_both_kernels_agree(source: Path) -> None:
    best, generic = CoreBackend(source), CoreBackend(source, generic=True)
    for left, right in zip(best.evaluate(*inputs(2, 13, 13)), generic.evaluate(*inputs(2, 13, 13)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)
    assert generic.versions()["core"].split()[1] in ("SSE2", "NEON")


def test_threads_do_not_disturb_each_other(source: Path) -> None:
    backend = open_backend("core", source, threads=4)
    cases = [inputs(1 + seed % 3, *SIZES[seed % len(SIZES)], seed) for seed in range(8)]
    assert asked_at_once(backend, cases, turns=24) == []
    backend.close()


def test_inputs_that_are_views_or_of_another_type_are_taken(source: Path) -> None:
    backend = CoreBackend(source)
    spatial, global_ = inputs(2, 5, 5)
    expected = backend.evaluate(spatial[::-1].copy(), global_[::-1].copy())
    found = backend.evaluate(spatial[::-1].astype(np.float64), global_[::-1])  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.policy, expected.policy)


@pytest.mark.parametrize(
    ("spatial", "global_"),
    [
        ((1, 21, 9, 9), (1, 19)),
        ((1, 22, 9, 9), (1, 18)),
        ((1, 22, 9, 9), (2, 19)),
        ((1, 22, 9, 9), (19,)),
        ((22, 9, 9), (1, 19)),
        ((1,), (1, 19)),
    ],
)
def test_inputs_of_another_shape_are_refused(spatial: tuple[int, ...], global_: tuple[int, ...], source: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"22, y, x\] planes and \[n, 19\] numbers"):
        CoreBackend(source).evaluate(np.zeros(spatial, np.float32), np.zeros(global_, np.float32))


def test_a_closed_network_refuses_to_evaluate(source: Path) -> None:
    backend = CoreBackend(source)
    backend.close()
    with pytest.raises(BackendUnavailable, match="closed") as error:
        backend.evaluate(*inputs(1, 9, 9))
    assert error.value.fix
    backend.close()


def test_what_is_no_network_file_is_refused_with_a_fix(tmp_path: Path) -> None:
    path = tmp_path / "n.bin.gz"
    for content in (None, b"", b"no network", b"\x1f\x8b damaged"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BackendUnavailable) as error:
            open_backend("core", path, threads=1)
        assert error.value.fix
    with pytest.raises(BackendUnavailable, match="no network was given"):
        open_backend("core", None, threads=1)


@pytest.mark.parametrize("generic", [False, True], ids=["best kernels", "generic kernels"])
@pytest.mark.parametrize("kind", ATTENTION)
def test_every_kind_of_attention(kind: str, generic: bool, tmp_path: Path) -> None:
    writer = NetworkWriter(15, [kind, "ffn", "ordinary", kind], channels=24, seed=5)
    assert_agrees(writer, tmp_path / "n.bin.gz", [(1, 1), (4, 4), (5, 7), (11, 10)], generic=generic)


@pytest.mark.parametrize("tip", ["batch", "rms", "spatial rms"])
@pytest.mark.parametrize(
    "blocks",
    [["ffn"], ["gpool", "fixed", "gpool"], ["ordinary", ["attention", "ordinary", "ffn"]], [["ffn"], "one key"]],
)
def test_transformer_blocks_among_others(blocks: list[object], tip: str, tmp_path: Path) -> None:
    writer = NetworkWriter(17, blocks, channels=12, activation="ACTIVATION_MISH", tip=tip)
    assert_agrees(writer, tmp_path / "n.bin.gz", [(3, 8), (9, 9)])


def test_an_answer_of_a_transformer_does_not_depend_on_the_batch_around_it(tmp_path: Path) -> None:
    writer = NetworkWriter(15, ["attention", "ffn", "shared keys"], channels=20, tip="spatial rms")
    assert_alone_as_together(CoreBackend(writer.write(tmp_path / "n.bin.gz")), 3)


def test_boards_beyond_the_tables_are_refused(source: Path) -> None:
    backend = CoreBackend(source)
    backend.evaluate(*inputs(1, 1, 64))
    with pytest.raises(BackendUnavailable, match="1 boards of 65×1 ran out, or they are longer than 64"):
        backend.evaluate(*inputs(1, 1, 65))


def test_a_human_style_network_imitates_whom_each_call_names(tmp_path: Path) -> None:
    """As the converted network into which that profile is written, on every size of board and in every batch."""
    source = NetworkWriter(15, ["ordinary", "gpool"], policy_channels=4, metadata=True).write(tmp_path / "n.bin.gz")
    core = open_backend("core", source, threads=1, human_profile="rank_1d")
    answers = []
    for profile in ("rank_20k", "proyear_1995"):
        convert(source, tmp_path / f"{profile}.onnx", human_profile=profile)
        converted = open_backend("onnxruntime", tmp_path / f"{profile}.onnx", threads=1, human_profile=profile)
        asked = imitating(core, profile)
        assert asked.network.human_profile == profile
        for y_size, x_size in ((9, 9), (19, 19), (3, 7)):
            answers.append(asked.evaluate(*inputs(2, y_size, x_size)))
            for found, expected in zip(answers[-1], converted.evaluate(*inputs(2, y_size, x_size)), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(answers[0].policy - answers[3].policy).max() > 1e-3
    core.close()
    with pytest.raises(BackendUnavailable, match="was closed"):
        asked.evaluate(*inputs(1, 9, 9))


@pytest.mark.parametrize(("metadata", "profile", "message"), MISFITS)
def test_whom_a_network_imitates_is_said_when_it_is_opened(
    metadata: bool, profile: str, message: str, tmp_path: Path
) -> None:
    source = NetworkWriter(15, ["ordinary"], metadata=metadata).write(tmp_path / "n.bin.gz")
    with pytest.raises(BackendUnavailable, match=message) as error:
        open_backend("core", source, threads=1, human_profile=profile)
    assert error.value.fix


def test_who_may_be_asked_to_imitate_another() -> None:
    human = ImitatingBackend()
    assert imitating(human, "") is human and imitating(human, "rank_5k") is human
    with pytest.raises(ConfigError, match="was converted to imitate rank_5k, not rank_1d"):
        imitating(human, "rank_1d")
    nobody = UniformBackend()
    assert imitating(nobody, "rank_5k") is nobody
