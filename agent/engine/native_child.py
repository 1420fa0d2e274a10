"""A native katago's process as the worker sees it: three pipes that never block, its last words, and whether it lives.

Knows nothing of what is said. Start at `NativeChild`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from agent.engine import native_death
from agent.engine.native_process import find_program, start_katago
from agent.errors import NativeFailed

_READ_BYTES: Final = 1 << 16
# The longest answer is every move's ownership on 19×19 with deviations, 3 MB as text.
MAX_LINE_BYTES: Final = 1 << 25
_KEPT_LINES: Final = 40
_KEPT_BYTES: Final = 2000
# A process that has closed its output ends soon; one that does not is killed.
_QUIT_S: Final = 3.0
# The kernel's out-of-memory killer should take katago before the worker (500), whose front then knows why.
_OOM_SCORE: Final = 600
# Which of KataGo's backends runs, by its log: "Eigen (CPU) backend thread 0", "Cuda backend thread 0".
_BACKEND: Final = re.compile(r"\b(Eigen|OpenCL|Cuda|CUDA|TensorRT|Metal|ROCm)\b[^:\n]* backend")


class NativeChild:
    """Use it as a context manager: katago, all that it started, and its folder end with it."""

    def __init__(
        self,
        program: Path,
        network: Path,
        config: Mapping[str, object],
        *,
        base: Path | None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """Start `program analysis` on `network` (.bin.gz) with the settings of `base` and over these `config`.

        Raises NativeFailed.
        """
        self.program = find_program(program)
        self.said: deque[str] = deque(maxlen=_KEPT_LINES)
        self.backend = ""
        self._out, self._err, self._unsent = bytearray(), bytearray(), bytearray()
        self._held = contextlib.ExitStack()
        try:
            folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="katago-agent-native-")))
            # At the end of its input it would finish all it has, which may be a search without end.
            self._process = start_katago(
                program,
                "analysis",
                network,
                config,
                folder,
                stderr=subprocess.PIPE,
                base=base,
                arguments=("-quit-without-waiting",),
                preexec=preexec,
            )
        except OSError as error:
            self._held.close()
            raise native_death.not_started(self.program, error) from error
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        for end in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(end.fileno(), False)
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")

    def __enter__(self) -> NativeChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        for end in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):  # what was not sent cannot be flushed any more
                end.close()
        self._held.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    # ------------------------------------------------------------ talking

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, line: bytes) -> None:
        """Queue a line; as much goes at once as the pipe takes."""
        self._unsent += line
        self.flush()

    def flush(self) -> None:
        """Send what the pipe takes. A katago that has ended shows at its output."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self.stdin.fileno(), self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()

    def lines(self) -> list[bytes] | None:
        """The whole lines that there are now; None when its output has ended."""
        return _take(self.stdout, self._out)

    def listen_to_errors(self) -> bool:
        """Keep what it says on standard error. False when that has ended."""
        lines = _take(self.stderr, self._err)
        for line in lines or ():
            text = line.decode(errors="replace").rstrip()
            self.said.append(text[:_KEPT_BYTES])
            if match := _BACKEND.search(text):
                self.backend = match[1]
        return lines is not None

    # ------------------------------------------------------------ its life

    def ended(self, *, was_ready: bool) -> NativeFailed:
        """The error for its end, with its last words. Its output has ended."""
        try:
            status = self._process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            return NativeFailed("katago closed its output and did not end")
        self.listen_to_errors()
        if self._err:
            self.said.append(self._err.decode(errors="replace")[:_KEPT_BYTES])
        return native_death.ended(self.program, status, self.said, was_ready=was_ready)

    def kill(self) -> None:
        """SIGKILL to the whole group, which outlives its leader where that is a script. Also ends what is stopped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def is_stopped(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP), or a debugger holds it."""
        return any(fields[0] in "Tt" for fields in self._group())

    def cpu_ticks(self) -> int:
        """Processor time that it and its children have taken."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self._group())

    def rss_bytes(self) -> int:
        """Memory that it and its children hold."""
        return sum(int(fields[21]) for fields in self._group()) * os.sysconf("SC_PAGE_SIZE")

    def _group(self) -> list[list[str]]:
        """What proc(5) says of each process of the group, from its state on."""
        found = []
        for place in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                # The name stands in parentheses and may hold any character.
                fields = place.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if fields[2] == str(self._process.pid):
                    found.append(fields)
        return found


def _take(end: IO[bytes], buffer: bytearray) -> list[bytes] | None:
    """Read what there is; the whole lines of it, None at the end."""
    try:
        data = os.read(end.fileno(), _READ_BYTES)
    except BlockingIOError:
        return []
    except OSError:
        return None
    if not data:
        return None
    buffer += data
    if len(buffer) > MAX_LINE_BYTES:
        buffer.clear()
    if b"\n" not in data:
        return []
    *lines, rest = bytes(buffer).split(b"\n")
    buffer[:] = rest
    return lines
