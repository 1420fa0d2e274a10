"""The report: figures from manifests, the claims and the checklist, and the page that a browser shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from agent.engine.tuning import Contender, SetAside
from agent.export.artifact import (
    QUANTILES,
    Accuracy,
    Artifact,
    ArtifactManifest,
    LayerSensitivity,
    Speed,
    Verification,
    artifacts_in,
    digest,
    offered,
    write_manifest,
)
from agent.export.info import NetworkInfo
from agent.workshop.limits import Limits, Peaks, Products
from agent.workshop.report import Deployed, Report, build_report
from agent.workshop.report_page import page
from agent.workshop.report_plots import plots
from agent.workshop.speed import BoardSpeeds, NativeResult, PathSpeed, SpeedTable

HARDWARE = "a board with four cores"
SOURCE = "ab" * 32


def accuracy(win_mae: float, slice: str = "all") -> Accuracy:
    quantiles = tuple(win_mae * 2 * share for share in QUANTILES)
    return Accuracy(slice, 500, 100, 0.98, 0.003, win_mae, win_mae * 9, 0.2, 0.2, 0.004, quantiles, quantiles)


def artifact(folder: Path, name: str, format: str, size: int, **facts: object) -> Artifact:
    path = folder / name
    path.write_bytes(bytes(size))
    network = NetworkInfo(name="b6 <of> tests", version=8, sha256=SOURCE)
    manifest = ArtifactManifest(name, format, size, digest(path), network, "1x1 to 19x19", {"onnx": "1.23"}, **facts)  # type: ignore[arg-type]
    return write_manifest(path, manifest)


def speed(evals_per_s: float, board: str = "19x19", ratio: float | None = None) -> Speed:
    return Speed(HARDWARE, "onnxruntime", board, 2, 8, evals_per_s, ratio)


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Artifact]:
    return make_artifacts(tmp_path)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page on the same artifacts; drawing it takes a second."""
    return page(report(make_artifacts(tmp_path_factory.mktemp("shown"))))


def make_artifacts(tmp_path: Path) -> list[Artifact]:
    verified = (Verification(SOURCE, "cd" * 32, (accuracy(0.004), accuracy(0.02, "board 9x9"))),)
    sensitivity = (LayerSensitivity("conv1", 0.1, 0.05, "fp32"), LayerSensitivity("rconv2", 0.001, 0.0002, "int8"))
    artifact(tmp_path, "n.onnx", "onnx-fp32", 1000, gate="passed", speeds=(speed(30, ratio=1.3), speed(120, "9x9")))
    artifact(tmp_path, "n.fp16.onnx", "onnx-fp16", 505)
    artifact(
        tmp_path,
        "n.int8.onnx",
        "onnx-int8",
        300,
        gate="failed",
        gate_reasons=("win MAE 0.02 on 9x9 is more than 0.015",),
        verifications=verified,
        speeds=(speed(45, ratio=1.95),),
        sensitivity=sensitivity,
        recipe={"calibration": "1000 positions <script>"},
    )
    artifact(tmp_path, "n.mlpackage", "coreml-fp16", 510)
    return artifacts_in(tmp_path, SOURCE)


def report(artifacts: list[Artifact], tables: Sequence[SpeedTable] = (), **deployed: object) -> Report:
    chosen = [Deployed(**deployed)] if deployed else ()  # type: ignore[arg-type]
    return build_report(artifacts, HARDWARE, "2026-01-01T00:00:00+00:00", "0.1.0", chosen, tables)


def test_sizes_and_claims_are_those_of_the_manifests(artifacts: list[Artifact]) -> None:
    (network,) = report(artifacts).networks
    assert [(row.format, row.size_ratio) for row in network.rows] == [
        ("onnx-fp32", 1.0),
        ("onnx-fp16", 0.505),
        ("onnx-int8", 0.3),
        ("coreml-fp16", 0.51),
    ]
    claims = {claim.said: (claim.measured, claim.holds) for claim in network.claims}
    assert claims["FP16 is half the size"] == ("onnx-fp16 50.5%, coreml-fp16 51.0% of ONNX fp32", True)
    assert claims["INT8 is a quarter of the size"] == ("onnx-int8 30.0% of ONNX fp32", False)
    assert claims["INT8 weights alone are a quarter of the size"] == ("not measured", None)
    assert claims["INT8 is twice as fast"] == ("1.50 × the fastest fp32 on 19x19 (onnx-int8, against onnx-fp32)", False)
    assert claims["INT8 loses less than 1 %"][1] is True


def test_another_machines_speed_goes_by_its_name(tmp_path: Path) -> None:
    fast, slow = Speed("a workstation", "onnxruntime", "19x19", 8, 8, 300, 2.0), speed(45, "9x9", ratio=1.1)
    artifact(tmp_path, "n.onnx", "onnx-fp32", 1000, speeds=(fast, slow))
    artifact(tmp_path, "n.fp16.onnx", "onnx-fp16", 505, speeds=(fast,))
    made = report(artifacts_in(tmp_path, SOURCE))
    both, elsewhere = made.networks[0].rows
    assert (both.speed, elsewhere.speed) == (slow, fast)
    table = page(made).split("<tbody>")[1].split("</tbody>")[0]
    assert table.count("on a workstation") == 1 and HARDWARE not in table
    assert {f"Speed, {HARDWARE}", "Speed, a workstation"} < set(plots(made.networks[0]))


def path(
    backend: str,
    rate: float,
    *,
    precision: str = "fp32",
    sha256: str = "",
    lies: str = "networks",
    board: str = "19x19",
) -> PathSpeed:
    contender = Contender(backend, precision, "winograd", sha256 or backend, f"/state/{lies}/{SOURCE}/{backend}.file")
    return PathSpeed(contender, board, 2, 1, 8, rate, (rate,), rate / 25, "fp32, F(4×4, 3×3)", rate / 100, 10**8)


def table(*paths: PathSpeed, hardware: str = HARDWARE, load: float = 0.5) -> SpeedTable:
    native = NativeResult("2 threads, 8 queries at once", 25.0, (25.0,), {})
    lost = (SetAside(path("cuda", 0).contender, "no <GPU>"),)
    limits = Limits(50.0, 100.0, 90.0, 0.0)
    boards = tuple(
        BoardSpeeds(board, Products(2, 1), limits, native, tuple(each for each in paths if each.board == board), lost)
        for board in dict.fromkeys(each.board for each in paths)
    )
    return SpeedTable("b6 <of> tests", SOURCE, hardware, {}, Peaks(2, 5e10, 1e11, 0.0), boards, (0.1, load))


def test_paths_without_a_manifest_are_in_the_report(artifacts: list[Artifact]) -> None:
    """Our kernels and the converted network; and artifacts are what their gate says now."""
    hashes = {each.path.name: each.manifest.sha256 for each in artifacts}
    int8 = path("onnxruntime", 40, precision="int8", sha256=hashes["n.int8.onnx"], lies="artifacts")
    found = table(
        path("onnxruntime", 30),
        path("core", 60),
        int8,
        path("litert", 20, precision="int8", lies="artifacts"),
        path("mnn", 25, sha256=hashes["n.onnx"], lies="artifacts"),
        path("mnn-lean", 10, sha256=hashes["n.fp16.onnx"], precision="fp16", lies="artifacts"),
    )
    (network,) = report(artifacts, tables=[found]).networks
    (board,) = network.tables[0].boards
    assert [(each.path.contender.backend, each.standing) for each in board.paths] == [
        ("core", "fp32-equal"),
        ("onnxruntime", "gate failed"),
        ("onnxruntime", "fp32-equal"),
        ("mnn", "fp32-equal"),
        ("litert", "no longer here"),
        ("mnn-lean", "not verified"),
    ]
    assert board.fp32_equal is not None and board.fp32_equal.contender.path == "core.file"
    assert board.verified is not None and board.verified.contender.backend == "mnn", "what failed is never named first"
    assert board.native_share == 0.25 and [(lost.contender.path, lost.reason) for lost in board.set_aside] == [
        ("cuda.file", "no <GPU>")
    ]
    claim = next(each for each in network.claims if each.said == "INT8 is twice as fast")
    assert claim.measured == "0.75 × the fastest fp32 on 19x19 (onnx-int8, against core fp32 winograd)"
    line = next(check for check in network.checklist if check.line == "Speed measured on the target")
    assert line.ticked and "core fp32 winograd with 60.0 evals/s, 2.40 × native KataGo, 60% of the limit" in line.by
    assert "the fastest verified artifact is mnn fp32 winograd" in line.by


def test_an_artifact_that_changed_is_not_what_was_timed(artifacts: list[Artifact]) -> None:
    changed = next(each for each in artifacts if each.path.name == "n.onnx")
    changed.path.write_bytes(b"x" * 1000)
    found = table(path("mnn", 25, sha256=changed.manifest.sha256, lies="artifacts"))
    (network,) = report(artifacts, tables=[found]).networks
    assert network.tables[0].boards[0].paths[0].standing == "no longer here"
    lines = {check.line: check for check in network.checklist}
    assert not lines["Accuracy within bounds"].ticked, "what passed is gone"


def test_a_table_of_another_machine_ticks_nothing() -> None:
    (network,) = report([], tables=[table(path("core", 60, board="9x9"), hardware="another", load=3.0)]).networks
    assert network.rows == () and network.name == "b6 <of> tests"
    assert network.tables[0].busy == 3.0
    assert not any(check.ticked for check in network.checklist)
    shown = page(report([], tables=[table(path("core", 60, board="9x9"), hardware="another", load=3.0)]))
    assert "The machine was busy (load 3.0)" in shown and "no &lt;GPU&gt;" in shown
    assert shown.count("<svg") == 1 and "Speed on 9×9, another" in shown


def test_a_table_with_no_path_at_all() -> None:
    empty = msgspec.structs.replace(table(), boards=())
    assert "Every path" in page(report([], tables=[empty]))


def test_the_checklist_is_ticked_by_what_was_done(artifacts: list[Artifact]) -> None:
    lines = {check.line: check for check in report(artifacts).networks[0].checklist}
    ticked = {line for line, check in lines.items() if check.ticked}
    assert ticked == {"Calibration prepared", "Exported", "Accuracy within bounds", "Speed measured on the target"}
    assert "onnx-int8 failed" in lines["Accuracy within bounds"].by
    chosen = report(artifacts, network_sha256=SOURCE, words="onnxruntime fp32", peak_rss_bytes=10**8)
    assert all(check.ticked for check in chosen.networks[0].checklist)


def test_a_file_that_changed_after_its_export_is_named(artifacts: list[Artifact]) -> None:
    by_name = {each.path.name: each for each in artifacts}
    by_name["n.onnx"].path.write_bytes(b"x" * 1000)
    (network,) = report(artifacts).networks
    assert [row.file for row in network.rows if not row.whole] == ["n.onnx"]
    assert next(check for check in network.checklist if check.line == "Exported").ticked is False
    assert not offered(by_name["n.onnx"])
    assert [row.whole for row in network.rows] == [False, True, True, True]


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_reported(artifacts: list[Artifact]) -> None:
    """As on a memory card that wears out. Nothing maps this process's address 0, so reading there is an I/O error."""
    worn = next(each for each in artifacts if each.path.name == "n.onnx")
    worn.path.unlink()
    worn.path.symlink_to("/proc/self/mem")
    write_manifest(worn.path, msgspec.structs.replace(worn.manifest, size_bytes=0))
    (network,) = report(artifacts_in(worn.path.parent)).networks
    assert [row.file for row in network.rows if not row.whole] == ["n.onnx"] and len(network.rows) == 4
    assert "n.onnx" in next(check.by for check in network.checklist if check.line == "Exported")


def test_an_artifact_of_another_size_than_its_manifest_does_not_count(artifacts: list[Artifact]) -> None:
    artifacts[0].path.write_bytes(b"half")
    assert artifacts[0].path not in [each.path for each in artifacts_in(artifacts[0].path.parent)]


def test_two_artifacts_of_one_format_are_told_apart(tmp_path: Path) -> None:
    """Calibrated and trained: both are static INT8, and a bar each."""
    facts = {"verifications": (Verification(SOURCE, "cd" * 32, (accuracy(0.004),)),), "speeds": (speed(45, "9x9"),)}
    artifact(tmp_path, "n.onnx", "onnx-fp32", 1000)
    artifact(tmp_path, "n.int8.onnx", "onnx-int8", 300, **facts)
    artifact(tmp_path, "n.qat.int8.onnx", "onnx-int8", 310, **facts)
    built = report(artifacts_in(tmp_path))
    labels = [row.label for row in built.networks[0].rows]
    assert labels == ["onnx-fp32", "onnx-int8 n.int8.onnx", "onnx-int8 n.qat.int8.onnx"]
    claim = next(each for each in built.networks[0].claims if each.said == "INT8 is a quarter of the size")
    assert claim.measured == "onnx-int8 n.int8.onnx 30.0%, onnx-int8 n.qat.int8.onnx 31.0% of ONNX fp32"
    for title, svg in plots(built.networks[0]).items():
        for label in labels[1:]:
            # As a tick, in a legend or beside a point: each once.
            assert svg.count(f">{label}<") == 1, title
        places = re.findall(r' y="(\S+?)"[^>]*> 45\.0 {2}on 9×9<', svg)
        assert len(set(places)) == len(places) == (2 if title == f"Speed, {HARDWARE}" else 0)


def test_a_layer_may_be_named_as_it_likes(artifacts: list[Artifact]) -> None:
    layers = tuple(LayerSensitivity(name, 0.1, 0.05, "int8") for name in ("$\\frac$", "_conv", "<b>"))
    odd = artifact(artifacts[0].path.parent, "odd.fp16.mnn", "mnn-fp16", 500, sensitivity=layers)
    shown = page(report([odd]))
    assert "$\\frac$" in shown and "&lt;b&gt;" in shown and "<b>" not in shown


class Elements(HTMLParser):
    """Opens and closes; what a page fetches; its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.fetched.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br", "link", "img"):
            self.handle_endtag(tag)


def test_the_page_is_whole_and_needs_nothing_beside_it(shown: str) -> None:
    elements = Elements()
    elements.feed(shown)
    assert elements.open == [] and elements.fetched == [] and elements.scripts == 0
    assert len(elements.ids) == len(set(elements.ids))
    assert "&lt;of&gt;" in shown and "1000 positions &lt;script&gt;" in shown
    assert shown.count("<svg") == 5
    assert "Core ML: never run on Apple hardware" in shown
    assert not re.search(r"url\((?!#)", shown)


def test_the_same_report_is_the_same_page(artifacts: list[Artifact], shown: str) -> None:
    assert page(report(artifacts)) == shown


def test_the_report_survives_json(artifacts: list[Artifact]) -> None:
    built = report(artifacts, tables=[table(path("core", 60))])
    assert msgspec.json.decode(msgspec.json.encode(built), type=Report) == built


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium; the CI script installs it")
def test_a_real_browser_shows_the_page(shown: str, tmp_path: Path) -> None:
    """Chromium parses it, draws the pictures and finds nothing to fetch."""
    path = tmp_path / "report.html"
    path.write_text(shown, "utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'home'}"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("</svg>") == 5
    assert "Ready to deploy?" in done.stdout
