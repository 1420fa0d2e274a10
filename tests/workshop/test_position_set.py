"""Files of positions: what comes back, and what is refused rather than held against a network."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.position_sets import made_up

from agent.errors import CalibrationError
from agent.workshop.position_set import PositionSet, load_position_set

Arrays = dict[str, Any]


def changed(folder: Path, change: Callable[[Arrays], object]) -> Path:
    """A whole set, rewritten with `change`."""
    path = folder / "set.npz"
    made_up(games=6).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_a_set_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = made_up(games=6)
    saved.save(tmp_path / "set.npz")
    loaded = load_position_set(tmp_path / "set.npz")
    assert loaded.sha256() == saved.sha256() and loaded.source == saved.source
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda arrays: arrays["0.global"].__setitem__((0, 0), np.nan), "a global input that is no number"),
        (lambda arrays: arrays["0.legal"].__imul__(0), "a position without a legal move"),
        (lambda arrays: arrays.update({"0.size": np.array([9, 25])}), "a board of 25x9"),
        (lambda arrays: arrays.update({"0.size": np.array([-9, 9])}), "a board of 9x-9"),
        (lambda arrays: arrays.update({"0.size": np.array([9])}), "is no position set"),
        (lambda arrays: arrays.update({"0.spatial": arrays["0.spatial"][:-1]}), "bytes are not"),
        (lambda arrays: arrays.update({"0.game": arrays["0.game"][:-1]}), "moves .15,., games .14,."),
        (lambda arrays: arrays.pop("0.move"), "is no position set"),
        (lambda arrays: arrays.update({"0.move": np.stack([arrays["0.move"]] * 2, axis=1)}), "moves"),
        (lambda arrays: arrays.update({"0.game": -1 - arrays["0.game"]}), "id is none"),
        (lambda arrays: arrays.update({"0.game": arrays["0.game"].astype(np.int64) + 2**31}), "id is none"),
        (lambda arrays: arrays.pop("source"), "is no position set"),
    ],
)
def test_what_no_network_may_be_asked_is_refused(
    tmp_path: Path, change: Callable[[Arrays], object], reason: str
) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(CalibrationError, match=reason):
        load_position_set(path)


def single_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "text")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut", single_array(), other_zip()])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"set\.npz"):
        load_position_set(tmp_path / "set.npz")


def test_a_folder_and_nothing_at_all_are_no_set(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(CalibrationError, match="is no position set"):
            load_position_set(path)


def test_a_claim_of_more_than_any_memory_is_none(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda arrays: None)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(claim, {"descr": "<f8", "fortran_order": False, "shape": (10**16,)})
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (members | {"0.global.npy": claim.getvalue()}).items():
            file.writestr(name, content)
    with pytest.raises(CalibrationError, match="is no position set"):
        load_position_set(path)


def test_a_board_without_a_position_is_left_out(tmp_path: Path) -> None:
    whole = made_up(games=6)
    first, *others = whole.groups
    assert others
    PositionSet((first.take(np.zeros(len(first), bool)), *others), "without the first board").save(tmp_path / "set.npz")
    assert [group.board for group in load_position_set(tmp_path / "set.npz").groups] == [each.board for each in others]


def test_a_set_without_a_position_is_none(tmp_path: Path) -> None:
    PositionSet((), "nothing").save(tmp_path / "set.npz")
    with pytest.raises(CalibrationError, match="holds no position"):
        load_position_set(tmp_path / "set.npz")
