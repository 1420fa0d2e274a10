"""The memory of what was measured, and the choice: pure rules, one file, no runtime."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.tuning import (
    FILE,
    MAX_ENTRIES,
    SMALLER_IS_WORTH,
    Contender,
    SetAside,
    Timing,
    Tuned,
    choose,
    hardware_key,
    in_order,
    read_memory,
    recall,
    remember,
    runtime_versions,
)
from agent.errors import StorageFull, StoreUnwritable, TuningDamaged
from agent.hardware import Unknown, detect

NETWORK = "ab" * 32
VERSIONS = {"onnxruntime": "1.32.0", "MNN": "3.6.1"}


def timing(rate: float, backend: str = "onnxruntime", threads: int = 2, batch: int = 4, megabytes: int = 200) -> Timing:
    contender = Contender(backend, "fp32", "plain", f"{backend} hash", "/nowhere")
    return Timing(contender, threads, 1, batch, {"19x19": rate, "9x9": 3 * rate}, megabytes * 10**6)


def tuned(
    rate: float = 40.0, hardware: str = "a Pi", versions: dict[str, str] = VERSIONS, network: str = NETWORK
) -> Tuned:
    best = timing(rate)
    lost = SetAside(timing(0, "litert").contender, "it crashed with SIGILL")
    return Tuned(
        hardware, "b15c192", network, versions, best, (best, timing(1.0, "mnn")), (lost,), "race", 12.5, "2024-01-31"
    )


# ---------------------------------------------------------------- the choice


def test_the_fastest_is_chosen_and_a_smaller_batch_where_it_is_nearly_as_fast() -> None:
    assert choose([]) is None
    assert choose([timing(10), timing(30, "mnn"), timing(20, "litert")]) == timing(30, "mnn")
    near, far = 30 * (1 - SMALLER_IS_WORTH / 2), 30 * (1 - SMALLER_IS_WORTH * 2)
    assert choose([timing(30, batch=16), timing(near, batch=2), timing(far, batch=1)]) == timing(near, batch=2)


def test_memory_and_the_owners_wishes_bound_the_choice() -> None:
    timings = [timing(30, megabytes=900), timing(20, "mnn", threads=1), timing(10)]
    assert choose(timings, memory_bytes=500 * 10**6) == timings[1]
    assert choose(timings, backend="onnxruntime", memory_bytes=500 * 10**6) == timings[2]
    assert choose(timings, threads=1) == timings[1]
    assert choose(timings, threads=7) is None
    assert choose(timings, memory_bytes=1) is None


rates = st.floats(0.01, 1e5)


@given(
    st.lists(st.builds(timing, rates, st.sampled_from(["a", "b"]), st.integers(1, 8), st.integers(1, 16)), min_size=1)
)
def test_no_choice_loses_more_than_a_smaller_batch_is_worth(timings: list[Timing]) -> None:
    chosen = choose(timings)
    assert chosen in timings
    best = max(each.rate for each in timings)
    assert chosen is not None and chosen.rate >= best * (1 - SMALLER_IS_WORTH)
    assert in_order(timings)[0].rate == best


def test_what_was_not_measured_on_the_main_board_is_no_choice() -> None:
    assert choose([msgspec.structs.replace(timing(5), evals_per_s={"9x9": 100.0})]) is None


# ---------------------------------------------------------------- the memory


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert recall(state, "a Pi", NETWORK, VERSIONS).reason == "never tuned: run `agent tune`"
    remember(state, tuned())
    assert recall(state, "a Pi", NETWORK, VERSIONS).tuned == tuned()
    assert recall(state, "another Pi", NETWORK, VERSIONS).tuned is None
    assert recall(state, "a Pi", "cd" * 32, VERSIONS).tuned is None


def test_tuning_again_replaces_and_other_entries_stay(tmp_path: Path) -> None:
    remember(tmp_path, tuned(40))
    remember(tmp_path, tuned(hardware="a Jetson"))
    remember(tmp_path, tuned(50))
    assert recall(tmp_path, "a Pi", NETWORK, VERSIONS).tuned == tuned(50)
    assert len(read_memory(tmp_path).tuned) == 2


def test_a_changed_version_asks_for_another_tuning_and_names_it(tmp_path: Path) -> None:
    remember(tmp_path, tuned())
    newer = {"onnxruntime": "1.33.0", "ai-edge-litert": "2.3.0"}
    found = recall(tmp_path, "a Pi", NETWORK, newer)
    assert found.tuned is None
    assert found.reason == (
        "tuned with other versions (MNN was 3.6.1, is absent, ai-edge-litert was absent, is 2.3.0, "
        "onnxruntime was 1.32.0, is 1.33.0): run `agent tune` again"
    )
    remember(tmp_path, tuned(60, versions=newer))
    assert recall(tmp_path, "a Pi", NETWORK, VERSIONS).tuned == tuned(), "going back finds the older one"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"tuned": 3}', b'{"tuned": [], "format": 99}', b"\xff\xfe"])
def test_a_damaged_file_is_ignored_with_a_warning_and_made_anew(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(damage)
    with pytest.raises(TuningDamaged):
        read_memory(tmp_path)
    assert "run `agent tune` to make it anew" in recall(tmp_path, "a Pi", NETWORK, VERSIONS).reason
    assert "it is ignored" in caplog.text
    assert (tmp_path / FILE).read_bytes() == damage, "reading changes nothing"
    remember(tmp_path, tuned())
    assert recall(tmp_path, "a Pi", NETWORK, VERSIONS).tuned == tuned()


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES + 3):
        remember(tmp_path, tuned(hardware=f"board {number}"))
    kept = read_memory(tmp_path).tuned
    assert len(kept) == MAX_ENTRIES and kept[-1].hardware == f"board {MAX_ENTRIES + 2}"


def test_two_tuners_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [threading.Thread(target=remember, args=(tmp_path, tuned(hardware=f"board {n}"))) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_memory(tmp_path).tuned) == 8


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreUnwritable, StorageFull)):
        remember(tmp_path / "file", tuned())


# ---------------------------------------------------------------- the key


def test_the_key_tells_machines_apart_and_not_their_memory() -> None:
    here = detect()
    key = hardware_key(here)
    assert key == hardware_key(detect())
    memory = msgspec.structs.replace(here.memory, total_bytes=Unknown("gone"))
    assert hardware_key(msgspec.structs.replace(here, memory=memory)) == key
    assert hardware_key(msgspec.structs.replace(here, usable_cores=77)) != key
    unknown = msgspec.structs.replace(here, cores=Unknown("gone"), usable_cores=Unknown("gone"))
    assert hardware_key(unknown).startswith("? of unknown cores")


def test_versions_name_the_runtime_that_is_here_without_loading_it() -> None:
    assert runtime_versions()["onnxruntime"]
    code = (
        "import sys; from agent.engine.tuning import recall, runtime_versions; runtime_versions();"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'onnxruntime', 'MNN')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
