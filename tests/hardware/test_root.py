"""Reading from a root: whatever stands in a file's place, the answer comes at once and is a value or a reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.hardware.root import MAX_LINKS, Root, _read_up_to
from agent.hardware.unknown import Unknown


def reason(answer: object) -> str:
    assert isinstance(answer, Unknown)
    return answer.reason


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_missing_file_names_the_path_within_the_root(root: Root) -> None:
    assert reason(root.read("/proc/cpuinfo")) == "/proc/cpuinfo: no such file or directory"


def test_folder_in_place_of_a_file(root: Root, tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    assert reason(root.read("/file")) == "/file: is a folder, not a file"


def test_fifo_does_not_block(root: Root, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert reason(root.read("/file")) == "/file: is a FIFO, not a file"


def test_device_is_not_opened(root: Root, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert reason(root.read("/socket")) == "/socket: is a socket, not a file"
    assert reason(Root().read("/dev/zero")) == "/dev/zero: is a character device, not a file"


def test_dangling_and_circling_links(root: Root, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert reason(root.read("/dangling")) == "/dangling: no such file or directory"
    assert reason(root.read("/a")) == "/a: too many levels of symbolic links"
    assert reason(root.list_folder("/a")) == "/a: too many levels of symbolic links"


def test_as_many_links_as_linux_follows(root: Root, tmp_path: Path) -> None:
    (tmp_path / "link0").write_text("end")
    for index in range(MAX_LINKS):
        (tmp_path / f"link{index + 1}").symlink_to(f"link{index}")
    assert root.read(f"/link{MAX_LINKS}") == b"end"


def test_absolute_and_climbing_links_stay_inside(root: Root, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/inside").write_text("inside")
    (tmp_path / "absolute").symlink_to("/etc/inside")
    (tmp_path / "climbing").symlink_to("../../../../../etc/inside")
    (tmp_path / "outside").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    assert root.read_line("/absolute") == "inside"
    assert root.read_line("/climbing") == "inside"
    assert root.read_line("/folder/inside") == "inside"
    assert reason(root.read("/outside")) == "/outside: no such file or directory"


def test_larger_than_its_limit(root: Root, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 101)
    assert reason(root.read("/file", 100)) == "/file: is larger than 100 bytes"
    assert root.read("/file", 101) == b"x" * 101
    assert root.read_start("/file", 3) == b"xxx"


def test_a_terabyte_is_not_read(root: Root, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    assert reason(root.read("/file", 4096)) == "/file: is larger than 4096 bytes"


def test_error_of_the_read_itself() -> None:
    assert reason(Root().read("/proc/self/mem")) == "/proc/self/mem: input/output error"


def test_sensor_that_is_not_powered_answers_eagain() -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    try:
        answer = _read_up_to(read_end, "/sys/class/thermal/thermal_zone2/temp", 100)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert reason(answer) == "/sys/class/thermal/thermal_zone2/temp: not powered or not ready (EAGAIN)"


def test_nul_in_a_path(root: Root) -> None:
    assert reason(root.read("/sys/\0/x")).endswith("the path holds a NUL byte")
    assert root.exists("/sys/\0/x") is False


@pytest.mark.parametrize("content", [b"", b"\n", b"\0", b"  \n\0"])
def test_empty(root: Root, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert reason(root.read_line("/file")) == "/file: is empty"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"a\x1b[31mred", b"x" * 300])
def test_text_that_nobody_should_see_on_a_terminal(root: Root, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert reason(root.read_line("/file")) == "/file: holds no printable text"


@pytest.mark.parametrize("content", ["12 ", "0x12x", "1.5", "9" * 20, "twelve"])
def test_numbers(root: Root, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    expected = 12 if content == "12 " else Unknown("/file: holds no number")
    assert root.read_int("/file") == expected


def test_names_are_in_numeric_order(root: Root, tmp_path: Path) -> None:
    for name in ("zone10", "zone2", "policy", "zone1"):
        (tmp_path / name).touch()
    assert root.list_folder("/") == ("policy", "zone1", "zone2", "zone10")
    assert reason(root.list_folder("/zone1")) == "/zone1: not a directory"
