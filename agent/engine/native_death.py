"""Why a native katago ended or does not start, and what its owner can do about it. Pure: an exit status and last
words in, a sentence and a fix out.

The table is made of what KataGo 1.17 (Eigen, OpenCL, CUDA, TensorRT), the dynamic loader and the kernel really say;
`tests/system/native_faults.py` provokes it.
"""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Sequence
from typing import Final, NamedTuple

from agent.errors import NativeFailed

LAST_WORDS: Final = 300
# A shell's statuses for a program that is not there, and for a signal.
_NOT_FOUND: Final = 127
_SHELL_SIGNAL: Final = 128

COMPILING: Final = "https://github.com/lightvector/KataGo/blob/master/Compiling.md"
# The service sees a GPU only through systemd/gpu.conf, which is written where agent.yaml says by then that one is used.
_LET_IN: Final = (
    "Where `{}` lists one, it is the service that may not open it: `sudo katago-agent install`, then "
    "`sudo systemctl restart katago-agent` (docs/native.md)."
)
_BUILD_HERE: Final = f"Build KataGo on this machine ({COMPILING}) and name it in engine.path."


class _Cause(NamedTuple):
    """What `pattern` in the last words means. `{0}` in the texts is the pattern's group, `{program}` the binary."""

    pattern: str
    reason: str
    fix: str
    is_hopeless: bool = True


_CAUSES: Final = (
    _Cause(
        r"error while loading shared libraries: (libOpenCL\.so[^:\s]*): cannot open",
        "it needs OpenCL ({0}), which is not on this machine",
        "Install ocl-icd-libopencl1 and the OpenCL driver of the graphics processor (pocl-opencl-icd computes on the "
        "processor).",
    ),
    _Cause(
        r"error while loading shared libraries: ([^:\s]+): cannot open",
        "it needs the shared library {0}, which is not on this machine",
        "Install the package that holds {0} (`ldd {program}` lists all that are missing; `apt-file search {0}` finds "
        "the package), or build KataGo on this machine.",
    ),
    _Cause(
        r"error while loading shared libraries: (.+)",
        "the dynamic loader refuses it: {0}",
        _BUILD_HERE,
    ),
    _Cause(
        r"version `((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found",
        "it was built for a newer system, one with {0}",
        _BUILD_HERE,
    ),
    _Cause(
        r"(requires a newer KataGo version[^\n]*|no longer supported by the engine[^\n]*)",
        "it cannot run this network: the network {0}",
        "Use a newer KataGo, or another network: `network` in agent.yaml.",
    ),
    _Cause(
        r"(?:Error loading or parsing model file|Model failed to parse|Could not open file)([^\n]*?)(?: File: .*)?$",
        "it cannot load the network{0}",
        "Run `agent doctor`, which checks the stored network; `agent pull NAME` fetches a damaged one again.",
    ),
    _Cause(
        r"(No OpenCL (?:devices|platforms)[^.\n]*|clGetPlatformIDs[^\n]*)",
        "it finds nothing to compute on: {0}",
        "Install the OpenCL driver of the graphics processor, or pocl-opencl-icd for the processor. "
        + _LET_IN.format("clinfo -l"),
    ),
    _Cause(
        r"(no CUDA-capable device[^\n]*)",
        "it finds nothing to compute on: {0}",
        f"Install NVIDIA's driver. {_LET_IN.format('nvidia-smi')}",
    ),
    _Cause(
        r"(no kernel image is available[^\n]*|CUDA driver version is insufficient[^\n]*)",
        "its CUDA does not fit this machine: {0}",
        "Build KataGo for this graphics processor (87 for Orin, 110 for Thor in CMAKE_CUDA_ARCHITECTURES), with the "
        "CUDA of its JetPack or driver.",
    ),
    _Cause(
        r"(out of memory[^\n]*|std::bad_alloc|CL_MEM_OBJECT_ALLOCATION_FAILURE|CL_OUT_OF_RESOURCES)",
        "it ran out of memory: {0}",
        "Use a smaller network, or lower nnMaxBatchSize and the cache; `agent status` shows the memory.",
        is_hopeless=False,
    ),
    _Cause(
        r"((?:CUDA Error|CUDNN Error|CUBLAS Error|OpenCL error)[^\n]*)",
        "the graphics processor failed it: {0}",
        "See `dmesg` for the driver's own words; a newer driver or a KataGo built for this one helps.",
        is_hopeless=False,
    ),
    _Cause(
        r"(?:Config\w*Error'\s*what\(\):|what\(\):(?=[^\n]*(?:[Cc]onfig|\.cfg| key )))\s*([^\n]*)",
        "it does not take its configuration: {0}",
        "Correct the .cfg file that the profile names; `agent why` shows which one it is.",
    ),
)

_SIGNALS: Final[dict[int, _Cause]] = {
    signal.SIGILL: _Cause(
        "",
        "it met an illegal instruction (SIGILL): it was built for another processor",
        f"Build KataGo on this machine without USE_AVX2 or another machine's -march ({COMPILING}).",
    ),
    signal.SIGKILL: _Cause(
        "",
        "it was killed (SIGKILL)",
        "If nobody did it, memory ran out: `journalctl -k | grep -i oom` tells; a smaller network or cache helps.",
        is_hopeless=False,
    ),
    signal.SIGBUS: _Cause(
        "", "it met a bus error (SIGBUS)", "The disk with the network may be failing: see `dmesg`.", is_hopeless=False
    ),
}


def ended(program: str, status: int, said: Sequence[str], *, was_ready: bool) -> NativeFailed:
    """The error for a katago whose exit status was `status` (negative: a signal) and whose last lines were `said`."""
    when = "died" if was_ready else "does not start"
    number = -status if status < 0 else status - _SHELL_SIGNAL if status > _SHELL_SIGNAL else 0
    cause = _cause(said)
    words = _last_words(said, with_log=not was_ready)
    if cause is not None:
        match, found = cause
        # Whole paths of ours would fill the line.
        text = re.sub(r"(?<!\S)/\S*/", "", match[1].strip()) if match.lastindex else ""
        # KataGo begins with a colon or with a blank what goes on after a word of ours.
        joined = found.reason.format(_joined(text, found.reason))
        return NativeFailed(
            f"katago {when}: {joined}"[: LAST_WORDS * 2],
            fix=found.fix.format(text, program=program),
            is_hopeless=found.is_hopeless and not was_ready,
        )
    if number in _SIGNALS:
        known = _SIGNALS[number]
        return NativeFailed(f"katago {when}: {known.reason}{words}", fix=known.fix, is_hopeless=known.is_hopeless)
    if number:
        how = f"it died of signal {number} ({signal.strsignal(number) or 'unknown'})"
    elif status == _NOT_FOUND:
        how = f"status {status}, which a shell gives for a program that is not there"
    else:
        how = f"it ended with status {status}"
    return NativeFailed(f"katago {when}: {how}{words or '; it said nothing'}")


# ProtectHome= of our unit hides them.
_HOMES: Final = ("/home/", "/root/")


def not_started(program: str, error: OSError) -> NativeFailed:
    """The error for a katago that the kernel does not run."""
    hidden = " The service sees no home folders: put it under /usr/local/bin." if program.startswith(_HOMES) else ""
    texts = {
        errno.ENOENT: (
            f"{program} is not there",
            f"Set engine.path in agent.yaml to a katago binary.{hidden} {build_advice()}",
        ),
        errno.EACCES: (f"{program} may not be run", f"Make it executable: chmod +x {program}."),
        errno.ENOEXEC: (f"{program} is no program for this processor", _BUILD_HERE),
    }
    reason, fix = texts.get(error.errno or 0, (f"{program}: {error.strerror or error}", ""))
    return NativeFailed(f"katago does not start: {reason}", fix=fix, is_hopeless=True)


def build_advice() -> str:
    """Where a katago comes from."""
    return f"For aarch64 nobody publishes a build: KataGo's own Compiling.md tells how to make one ({COMPILING})."


def hung(what: str, words: Sequence[str]) -> NativeFailed:
    """The error for a katago that is there and does nothing."""
    return NativeFailed(
        f"katago hangs: {what}{_last_words(words, with_log=True)}",
        fix="It was killed. If it hangs again, look at the driver (`dmesg`), or set engine.backend to a built-in one.",
    )


def _joined(text: str, reason: str) -> str:
    return f": {text.lstrip(': ')}" if text and "network{0}" in reason else text


def _cause(said: Sequence[str]) -> tuple[re.Match[str], _Cause] | None:
    """The first cause of the table that the last words tell of."""
    text = "\n".join(said)
    for cause in _CAUSES:
        if match := re.search(cause.pattern, text, re.MULTILINE):
            return match, cause
    return None


# KataGo's own log lines begin with the time; what is beside them is an error of a library or of C++, but for the
# settings that it lists and for its warnings.
_LOGGED: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}: ")


_SETTING: Final = re.compile(r"^(?:\w+ = |-----|WARNING: )")


def _last_words(said: Sequence[str], *, with_log: bool) -> str:
    """The last that is no log; `with_log` where there is none, to show how far it came."""
    lines = [line.strip() for line in said if line.strip()]
    errors = [line for line in lines if not (_LOGGED.match(line) or _SETTING.match(line))]
    logged = [line for line in lines if _LOGGED.match(line)] if with_log else []
    text = " ".join(_LOGGED.sub("", line) for line in (errors or logged)[-2:])[-LAST_WORDS:]
    return f"; its last words: {text}" if text else ""
