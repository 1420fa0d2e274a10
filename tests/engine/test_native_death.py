"""Last words and exit statuses of real binaries, and what they are told as."""

from __future__ import annotations

import errno

import pytest

from agent.engine.native_death import ended, hung, not_started

LOADER = "/usr/local/bin/katago: error while loading shared libraries: {}: cannot open shared object file: No such file"
STRING_ERROR = "terminate called after throwing an instance of 'StringError'\n  what():  {}"


@pytest.mark.parametrize(
    ("status", "said", "reason", "fix", "hopeless"),
    [
        (127, LOADER.format("libOpenCL.so.1"), "it needs OpenCL (libOpenCL.so.1)", "pocl-opencl-icd", True),
        (127, LOADER.format("libcudart.so.12"), "it needs the shared library libcudart.so.12", "ldd /k", True),
        (
            1,
            "/k: /lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by /k)",
            "built for a newer system, one with GLIBCXX_3.4.32",
            "Build KataGo",
            True,
        ),
        (-4, "", "illegal instruction (SIGILL)", "USE_AVX2", True),
        (132, "Illegal instruction", "illegal instruction (SIGILL)", "Compiling.md", True),
        (
            -6,
            STRING_ERROR.format(
                "Error loading or parsing model file n.bin.gz: Error while ungzipping file, Z_DATA_ERROR"
            ),
            "it cannot load the network: n.bin.gz: Error while ungzipping file, Z_DATA_ERROR",
            "agent pull",
            True,
        ),
        (
            -6,
            STRING_ERROR.format(
                "Error loading or parsing model file n: This neural net requires a newer KataGo version. Obtain"
            ),
            "the network requires a newer KataGo version",
            "newer KataGo",
            True,
        ),
        (
            -6,
            STRING_ERROR.format("No OpenCL devices were found on your system. If you believe"),
            "finds nothing to compute on: No OpenCL devices were found on your system",
            "Where `clinfo -l` lists one, it is the service that may not open it: `sudo katago-agent install`",
            True,
        ),
        (
            -6,
            STRING_ERROR.format("CUDA Error, for cudaGetDeviceCount file a, line 3, error no CUDA-capable device is"),
            "finds nothing to compute on: no CUDA-capable device is",
            "Where `nvidia-smi` lists one, it is the service that may not open it: `sudo katago-agent install`",
            True,
        ),
        (
            -6,
            STRING_ERROR.format("CUDA Error, for x file a, line 3, error no kernel image is available for execution"),
            "its CUDA does not fit this machine: no kernel image is available",
            "87 for Orin",
            True,
        ),
        (-6, STRING_ERROR.format("std::bad_alloc"), "ran out of memory", "smaller network", False),
        (
            -6,
            "terminate called after throwing an instance of 'ConfigParsingError'\n  what():  bad line 3",
            "does not take its configuration: bad line 3",
            "agent why",
            True,
        ),
        (-9, "", "it was killed (SIGKILL)", "journalctl", False),
        (-11, "", "signal 11 (Segmentation fault)", "agent doctor", False),
        (139, "", "signal 11 (Segmentation fault)", "agent doctor", False),
        (3, "Uncaught: x", "it ended with status 3; its last words: Uncaught: x", "agent doctor", False),
        (0, "", "it ended with status 0; it said nothing", "agent doctor", False),
    ],
)
def test_why_it_does_not_start(status: int, said: str, reason: str, fix: str, hopeless: bool) -> None:
    failed = ended("/k", status, said.splitlines(), was_ready=False)
    assert str(failed).startswith("katago does not start: ") and reason in str(failed)
    assert fix in failed.fix and failed.fix.endswith(".")
    assert failed.is_hopeless is hopeless


def test_one_that_served_may_serve_again() -> None:
    failed = ended("/k", -6, [STRING_ERROR.format("CUDA Error, for x, error unknown")], was_ready=True)
    assert str(failed).startswith("katago died: the graphics processor failed it") and not failed.is_hopeless


def test_its_own_log_is_not_its_last_words() -> None:
    said = ["2026-01-31 12:00:00+0000: Loaded model n", "-----", "double free or corruption", ""]
    assert str(ended("/k", -6, said, was_ready=True)).endswith("(Aborted); its last words: double free or corruption")
    only_log = str(hung("no answer", said[:1]))
    assert only_log == "katago hangs: no answer; its last words: Loaded model n"


@pytest.mark.parametrize(
    ("number", "reason", "fix"),
    [
        (errno.ENOENT, "/k is not there", "Compiling.md"),
        (errno.EACCES, "/k may not be run", "chmod +x /k"),
        (errno.ENOEXEC, "no program for this processor", "Build KataGo"),
        (errno.ENOMEM, "Cannot allocate memory", "agent doctor"),
    ],
)
def test_what_the_kernel_does_not_run(number: int, reason: str, fix: str) -> None:
    failed = not_started("/k", OSError(number, "Cannot allocate memory"))
    assert reason in str(failed) and fix in failed.fix and failed.is_hopeless


def test_a_home_folder_is_hidden_from_the_service() -> None:
    assert "sees no home folders" in not_started("/home/pi/katago", OSError(errno.ENOENT, "")).fix
    assert "sees no home folders" not in not_started("/opt/katago", OSError(errno.ENOENT, "")).fix
