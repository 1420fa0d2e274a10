"""Verification: what it compares with what, what it writes, and that a spoilt artifact does not get through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from fakes.opinions import INFO, SHA256, OpinionsBackend
from fakes.position_sets import made_up
from onnx import numpy_helper

from agent.engine.backends import open_backend
from agent.engine.backends.interface import Array, Outputs
from agent.errors import CalibrationError, GateRefused
from agent.events import SilentReporter
from agent.export.artifact import (
    NATIVE_SLICE,
    NOISE_SLICE,
    ArtifactManifest,
    Format,
    digest,
    offered,
    read_artifact,
    write_manifest,
)
from agent.export.exporters import export
from agent.workshop.accuracy import answers as read_answers
from agent.workshop.accuracy import compare, differences, evaluate
from agent.workshop.gates import judge
from agent.workshop.golden import NativeAnswer, golden_set, native_answers, packaged_rows, read_golden
from agent.workshop.opening import OpenedNetwork
from agent.workshop.position_set import PositionSet
from agent.workshop.proof import prove
from agent.workshop.seen import SeenSet
from agent.workshop.verify import Verified, Verifier, record

GOLDEN = Path(__file__).parents[1] / "golden" / "raw_nn.jsonl.gz"
POSITIONS = made_up()


def artifact_of(folder: Path, form: Format = Format.ONNX_INT8, **changes: object) -> Path:
    path = folder / f"network{form.facts.suffix}"
    path.write_bytes(f"weights in {form.value}".encode())
    manifest = ArtifactManifest(
        file=path.name,
        format=form.value,
        size_bytes=path.stat().st_size,
        sha256=digest(path),
        network=msgspec.structs.replace(INFO, precision=form.facts.precision),
        board_sizes="1x1 to 19x19",
        tools={},
    )
    write_manifest(path, msgspec.structs.replace(manifest, **changes))
    return path


def opened(path: Path, backend: OpinionsBackend) -> OpenedNetwork:
    return OpenedNetwork(backend, path.name, path, read_artifact(path))


def reference(**changes: object) -> OpenedNetwork:
    backend = OpinionsBackend()
    backend.network = msgspec.structs.replace(backend.network, **changes)
    return OpenedNetwork(backend, "the network in fp32", Path("fp32.onnx"), None)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(reference(), POSITIONS, SilentReporter())


def verify(
    verifier: Verifier, path: Path, change: Callable[[Outputs, Array, Array], Outputs] | None = None
) -> Verified:
    return verifier.verify(opened(path, OpinionsBackend(change=change)))


# ---------------------------------------------------------------- what is told and written


def test_a_faithful_artifact_passes_and_is_offered(verifier: Verifier, tmp_path: Path) -> None:
    path = artifact_of(tmp_path)
    before = read_artifact(path)
    assert before is not None and not offered(before)
    found = verify(verifier, path)
    assert found.judgement is not None and found.judgement.passed
    after = record(before, found)
    assert offered(after) and read_artifact(path) == after and after.manifest.gate_reasons == ()
    (verification,) = after.manifest.verifications
    assert verification.position_set == POSITIONS.sha256() and verification.reference.startswith(SHA256)
    assert [each.slice for each in verification.accuracies[-2:]] == ["golden", NOISE_SLICE]
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, path.name + ".json"]


def test_the_references_own_file_is_judged_by_a_second_runtime(tmp_path: Path) -> None:
    """A wrong kernel agrees with itself, and with it everything that is judged by it."""

    def spoil(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        return outputs._replace(value=outputs.value * 2)

    path = artifact_of(tmp_path, Format.ONNX_FP32)

    def found(backend: OpinionsBackend, second: OpinionsBackend | None) -> Verified:
        verifier = Verifier(opened(path, backend), POSITIONS, SilentReporter(), second=lambda: second)
        return verifier.verify(opened(path, backend))

    good = found(OpinionsBackend(), OpinionsBackend())
    assert good.judgement is not None and good.judgement.passed
    assert good.verification.reference == f"{SHA256} core"
    bad = found(OpinionsBackend(change=spoil), OpinionsBackend())
    assert bad.judgement is not None and any("win error" in reason for reason in bad.judgement.reasons)
    alone = found(OpinionsBackend(), None)
    assert alone.judgement is None and "nothing else here runs" in alone.unjudged


def test_a_reference_that_its_own_gate_refused_judges_nobody(tmp_path: Path) -> None:
    source, path = artifact_of(tmp_path, Format.ONNX_FP32), artifact_of(tmp_path)
    verifier = Verifier(opened(source, OpinionsBackend()), POSITIONS, SilentReporter())
    assert verify(verifier, path).judgement is not None
    artifact_of(tmp_path, Format.ONNX_FP32, gate="failed")
    found = verify(verifier, path)
    assert found.judgement is None and "refused the reference, network.onnx" in found.unjudged


@pytest.mark.parametrize("board", [(9, 9), (7, 5)])
def test_an_artifact_that_is_ruined_on_one_board_is_refused_and_says_where(
    verifier: Verifier, tmp_path: Path, board: tuple[int, int]
) -> None:
    def spoil(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        return outputs._replace(value=outputs.value * 2) if spatial.shape[:1:-1] == board else outputs

    path = artifact_of(tmp_path)
    before = read_artifact(path)
    found = verify(verifier, path, spoil)
    assert before is not None and found.judgement is not None
    assert any(reason.startswith(f"board {board[0]}x{board[1]}: mean win error") for reason in found.judgement.reasons)
    after = record(before, found)
    assert after.manifest.gate == "failed" and not offered(after)
    assert after.manifest.gate_reasons == found.judgement.reasons


def test_an_answer_that_is_no_number_is_refused(verifier: Verifier, tmp_path: Path) -> None:
    def spoil(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        outputs.ownership[0, 0] = np.nan
        return outputs

    found = verify(verifier, artifact_of(tmp_path), spoil)
    assert found.judgement is not None and "an answer is not a number" in found.judgement.reasons


def test_a_newer_verification_replaces_that_on_the_same_positions_and_keeps_others(tmp_path: Path) -> None:
    path = artifact_of(tmp_path)
    first, second = made_up(seed=1), made_up(seed=2)
    for positions in (first, second, first):
        artifact = read_artifact(path)
        assert artifact is not None
        record(artifact, verify(Verifier(reference(), positions, SilentReporter()), path))
    last = read_artifact(path)
    assert last is not None
    assert [each.position_set for each in last.manifest.verifications] == [second.sha256(), first.sha256()]


# ---------------------------------------------------------------- what cannot be judged


def test_another_network_and_a_reference_that_is_not_fp32_give_figures_and_no_judgement(tmp_path: Path) -> None:
    path = artifact_of(tmp_path)
    for changes in ({"sha256": "6" * 64}, {"precision": "fp16"}, {"human_profile": "rank_5k"}):
        found = verify(Verifier(reference(**changes), POSITIONS, SilentReporter()), path)
        assert found.judgement is None and found.accuracies[0].top1 == 1.0
        assert found.unjudged == "the reference is not this network in fp32"
    bare = OpenedNetwork(OpinionsBackend(), "bare", tmp_path / "bare.onnx", None)
    assert (
        Verifier(reference(), POSITIONS, SilentReporter()).verify(bare).unjudged == "it is no artifact with a manifest"
    )


def test_a_file_that_changed_since_its_export_is_refused(verifier: Verifier, tmp_path: Path) -> None:
    path = artifact_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"weights", b"weighty"))
    with pytest.raises(GateRefused, match="not the file that its manifest names"):
        verify(verifier, path)


def test_an_artifact_that_is_replaced_meanwhile_keeps_its_new_manifest(verifier: Verifier, tmp_path: Path) -> None:
    path = artifact_of(tmp_path)
    before = read_artifact(path)
    found = verify(verifier, path)
    artifact_of(tmp_path, sha256="7" * 64)
    assert before is not None
    with pytest.raises(GateRefused, match="replaced"):
        record(before, found)
    now = read_artifact(path)
    assert now is not None and now.manifest.gate == "not verified"


def seen(positions: PositionSet, file_sha256: str = "a file's hash") -> SeenSet:
    return SeenSet(file_sha256, positions)


OTHER = made_up(seed=2)
ONE_IN_COMMON = PositionSet((*OTHER.groups, POSITIONS.groups[0].take([0])), "both")


@pytest.mark.parametrize(
    "recipe",
    [
        lambda made_with: {"calibration": "a file's hash", "calibration set": made_with.sha256()},
        lambda made_with: {"calibration": "a file's hash"},
        lambda made_with: {"qat positions": f"{made_with.sha256()} (600 of 120 games)"},
    ],
    ids=["calibrated", "only the file is known", "trained"],
)
def test_no_game_serves_both_to_calibrate_and_to_verify(
    verifier: Verifier, tmp_path: Path, recipe: Callable[[PositionSet], dict[str, str]]
) -> None:
    calibrated = opened(artifact_of(tmp_path, recipe=recipe(OTHER)), OpinionsBackend())
    assert verifier.verify(calibrated, [seen(made_up(seed=3), "another"), seen(OTHER)]).judgement is not None
    spoilt = opened(artifact_of(tmp_path, recipe=recipe(ONE_IN_COMMON)), OpinionsBackend())
    with pytest.raises(CalibrationError, match="calibrated on 1 of the games"):
        verifier.verify(spoilt, [seen(ONE_IN_COMMON)])
    plain = opened(artifact_of(tmp_path), OpinionsBackend())
    assert verifier.verify(plain, [seen(ONE_IN_COMMON)]).judgement is not None


def test_without_what_it_was_calibrated_on_nobody_judges_it(verifier: Verifier, tmp_path: Path) -> None:
    """Another set that lies beside it by chance tells nothing."""
    path = artifact_of(tmp_path, recipe={"calibration": "a hash", "calibration set": OTHER.sha256()})
    for known in ([], [seen(made_up(seed=3))]):
        with pytest.raises(CalibrationError, match="nobody knows") as caught:
            verifier.verify(opened(path, OpinionsBackend()), known)
        assert OTHER.sha256()[:16] in caught.value.fix and "--calibration" in caught.value.fix
    same = artifact_of(tmp_path, recipe={"calibration": "a hash", "calibration set": POSITIONS.sha256()})
    with pytest.raises(CalibrationError, match="the very positions"):
        verifier.verify(opened(same, OpinionsBackend()))
    other = Verifier(reference(sha256="6" * 64), POSITIONS, SilentReporter())
    assert other.verify(opened(path, OpinionsBackend())).judgement is None, "figures are told without it"


@pytest.mark.parametrize("said", [{"sha256": "6" * 64}, {"score_mean_multiplier": 40.0}, {"prefer_pass_alive": True}])
def test_a_file_that_says_something_else_of_the_network_is_refused(
    verifier: Verifier, tmp_path: Path, said: dict[str, object]
) -> None:
    """Its manifest is another file's, or its own facts are damaged: the engine would go by them."""
    backend = OpinionsBackend()
    backend.network = msgspec.structs.replace(backend.network, **said)
    with pytest.raises(GateRefused, match=f"than the reference: {next(iter(said))}"):
        verifier.verify(opened(artifact_of(tmp_path), backend))


def test_a_reference_that_changed_since_its_export_is_none(tmp_path: Path) -> None:
    path = artifact_of(tmp_path, Format.ONNX_FP32)
    against = opened(path, OpinionsBackend())
    path.write_bytes(path.read_bytes().replace(b"weights", b"weighty"))
    with pytest.raises(GateRefused, match="not the file that its manifest names"):
        Verifier(against, POSITIONS, SilentReporter())


def test_nothing_is_verified_on_no_positions() -> None:
    with pytest.raises(CalibrationError, match="no position to verify on"):
        Verifier(reference(), PositionSet((), "nothing"), SilentReporter())


def test_an_artifact_is_judged_on_the_boards_that_it_takes(verifier: Verifier, tmp_path: Path) -> None:
    found = verify(verifier, artifact_of(tmp_path, board_sizes="9x9, 13x13"))
    assert found.accuracies[0].positions == sum(len(group) for group in POSITIONS.groups if group.board == "9x9")
    assert found.judgement is not None and "too few" in found.judgement.reasons[0]
    with pytest.raises(CalibrationError, match="none of the positions' boards"):
        verify(verifier, artifact_of(tmp_path, board_sizes="19x19"))


# ---------------------------------------------------------------- yardsticks


def test_a_network_that_cannot_tell_left_from_right_has_no_noise(verifier: Verifier, tmp_path: Path) -> None:
    (noise,) = verify(verifier, artifact_of(tmp_path)).yardsticks
    assert noise.slice == NOISE_SLICE and noise.positions >= 200
    assert noise.top1 == 1.0 and noise.win_max < 1e-5

    def lean(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        return outputs._replace(value=outputs.value + spatial[:, 1, :, 0].sum(axis=1)[:, None] * [[1.0, 0.0, 0.0]])

    leaning = OpenedNetwork(OpinionsBackend(change=lean), "leaning", Path("fp32.onnx"), None)
    (noise,) = verify(Verifier(leaning, POSITIONS, SilentReporter()), artifact_of(tmp_path)).yardsticks
    assert noise.win_mae > 0.01 and noise.top1 == 1.0


def test_the_packaged_positions_are_the_golden_ones() -> None:
    bare = [msgspec.structs.replace(row, nets={}) for row in read_golden(GOLDEN)]
    assert list(packaged_rows()) == bare
    positions, order = golden_set(bare, prefer_pass_alive=False)
    assert (len(positions), positions.games, sorted(order)) == (120, 24, list(range(120)))


@pytest.mark.parametrize(
    "moves", [(("B", "D4"), ("W", "D4")), (("X", "D4"),), (("B", "Z4"),)], ids=["taken", "no player", "no point"]
)
def test_a_golden_row_that_is_no_position_is_refused(moves: tuple[tuple[str, str], ...]) -> None:
    row = msgspec.structs.replace(packaged_rows()[0], moves=moves)
    with pytest.raises(CalibrationError, match="cannot be set up"):
        golden_set([row], prefer_pass_alive=False)


def test_native_answers_that_are_ours_show_no_difference() -> None:
    rows = packaged_rows()
    positions, order = golden_set(rows, prefer_pass_alive=False)
    answers: dict[int, NativeAnswer] = {}
    done = 0
    for group, outputs in zip(positions.groups, evaluate(OpinionsBackend(), positions), strict=True):
        found = read_answers(outputs, group, INFO)
        for index in range(len(group)):
            number = order[done + index]
            sign = 1.0 if rows[number].position().to_play == 2 else -1.0
            policy = np.exp(found.log_policy[index])
            legal = [float(p) if allowed else None for p, allowed in zip(policy, group.legal[index], strict=True)]
            win = float(found.win[index])
            answers[number] = NativeAnswer(
                white_win=win if sign > 0 else 1 - win,
                white_loss=1 - win if sign > 0 else win,
                no_result=0.0,
                white_lead=sign * float(found.lead[index]),
                white_score_selfplay=sign * float(found.score[index]),
                policy=tuple(legal[:-1]),
                policy_pass=legal[-1],
                white_ownership=tuple((sign * found.ownership[index]).tolist()),
            )
        done += len(group)
    native = [answers[number] for number in range(len(rows))]
    yardstick = Verifier(reference(), POSITIONS, SilentReporter(), native=native)._yardsticks[1]
    assert yardstick.slice == NATIVE_SLICE and yardstick.positions == 120
    assert max(yardstick.policy_max, yardstick.win_max, yardstick.lead_max, yardstick.ownership_max) < 1e-6


def native(**changes: object) -> NativeAnswer:
    even = NativeAnswer(0.5, 0.5, 0.0, 0.0, 0.0, (0.5, 0.25), 0.25, (0.0, 0.0))
    return msgspec.structs.replace(even, **changes)


def test_native_answers_to_another_board_are_refused() -> None:
    for answer in (native(policy=(0.5,)), native(white_ownership=(0.0,) * 3)):
        with pytest.raises(CalibrationError, match="not one to a board of 2 points"):
            native_answers([answer], [1], 2)


def test_native_answers_that_are_no_numbers_count_as_the_worst() -> None:
    spoilt = [
        native(white_win=np.nan),
        native(policy=(0.0, None), policy_pass=0.0),
        native(white_ownership=(np.inf, 0.0)),
    ]
    found = native_answers([native(), *spoilt], [1] * 4, 2)
    assert found.finite.tolist() == [True, False, False, False]
    apart = differences(native_answers([native()] * 4, [1] * 4, 2), found)
    assert apart.win.tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00 cut"])
def test_a_file_without_golden_positions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "golden.gz"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match="holds no golden positions"):
        read_golden(path)


# ---------------------------------------------------------------- a real network, corrupted


class Corruptible:
    """b15c192 with INT8 weights, judged on the golden positions of small boards."""

    def __init__(self, source: Path, folder: Path) -> None:
        reported = SilentReporter()
        made = list(export(source, [Format.ONNX_FP32, Format.ONNX_INT8_WEIGHTS], folder, prove, reported))
        paths = {each.format: each.artifact.path for each in made if each.artifact is not None}
        rows = [row for row in packaged_rows() if max(row.size) <= 9][::2]
        self.positions, _ = golden_set(rows, prefer_pass_alive=False)
        self.path, self.folder = paths[Format.ONNX_INT8_WEIGHTS], folder
        self.model = onnx.load(str(self.path))
        fp32 = open_backend("onnxruntime", paths[Format.ONNX_FP32], threads=1)
        self.reference = evaluate(fp32, self.positions)
        fp32.close()

    def reasons(self, model: onnx.ModelProto) -> list[str]:
        """What the gate has against `model`, but that these positions are few."""
        path = self.folder / "corrupted.onnx"
        onnx.save(model, str(path))
        backend = open_backend("onnxruntime", path, threads=1)
        found = compare(self.reference, evaluate(backend, self.positions), self.positions, backend.network)
        backend.close()
        return [reason for reason in judge("int8-weights", found).reasons if "too few" not in reason]

    def tensors(self, part: str) -> list[str]:
        return [each.name for each in self.model.graph.initializer if part in each.name]

    def with_changed(self, name: str, change: Callable[[Array], Array]) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        (tensor,) = [each for each in model.graph.initializer if each.name == name]
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
        return model


@pytest.fixture(scope="module")
def corruptible(network_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Corruptible:
    return Corruptible(network_file("b15c192"), tmp_path_factory.mktemp("corruptible"))


@pytest.mark.network
def test_an_intact_artifact_has_nothing_against_it(corruptible: Corruptible) -> None:
    assert corruptible.reasons(corruptible.model) == []


@pytest.mark.network
@pytest.mark.parametrize("seed", range(2))
def test_a_layer_whose_scale_is_doubled_is_refused(corruptible: Corruptible, seed: int) -> None:
    """Any layer's is (14 of 14 tried in b6c96, with a KL of 0.06 to 0.28). One number of a scale that has many mostly
    leaves a network within its bounds (12 of 14 tried), and then only the file's hash tells."""
    scales = corruptible.tensors("w1.scale") + corruptible.tensors("w2.scale")
    assert len(scales) > 25
    name = str(np.random.default_rng(seed).choice(scales))
    assert corruptible.reasons(corruptible.with_changed(name, lambda scale: scale * np.float32(2)))


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("w.v3/w.bias", lambda bias: bias + np.array([0.5, 0, 0], bias.dtype)),
        ("w.rconv9/w1", lambda weights: weights[..., ::-1]),
    ],
    ids=["one bias", "channels exchanged"],
)
def test_a_bias_and_channels_in_the_wrong_order_are_refused(
    corruptible: Corruptible, name: str, change: Callable[[Array], Array]
) -> None:
    assert corruptible.reasons(corruptible.with_changed(name, change))
