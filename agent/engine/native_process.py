"""Starting a native `katago`, and one that we ask over its stdin, for measuring it and for comparing with it.

Its configuration is ours, written to a folder that goes with it; the owner's own is not touched. What is asked, and how
long an answer may take, is for the caller to say. Start at `NativeProcess`; the worker, which asks without waiting
(`native_worker.py`), only starts its katago here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from agent.errors import BenchFailed

# A first start may tune OpenCL for some minutes.
START_S: Final = 600.0
# A process whose output has ended ends soon; one that does not is killed.
_QUIT_S: Final = 10.0
_LAST_WORDS: Final = 400


def find_program(command: Path) -> str:
    """The file that `command` is, or that a shell would find under this name; as it is where there is none."""
    # A process that works in a folder of its own cannot follow a relative path.
    return str(command.absolute()) if command.is_file() else shutil.which(command) or str(command)


def start_katago(
    command: Path,
    verb: str,
    network: Path,
    config: Mapping[str, object],
    folder: Path,
    *,
    stderr: IO[str] | int,
    base: Path | None = None,
    arguments: Sequence[str] = (),
    preexec: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command verb` (a file, or a name to look for as a shell does) in `folder`, with the settings of the file
    `base` and over these the ones of `config`. It leads a process group of its own, so that all of it can be ended.

    Raises OSError.
    """
    written = folder / "katago.cfg"
    written.write_text(_without(config, base) + "".join(f"{key} = {value}\n" for key, value in config.items()))
    return subprocess.Popen(
        [find_program(command), verb, "-config", str(written), "-model", str(network.absolute()), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=folder,
        # `command` may be a script that starts katago: all of that must end with it.
        start_new_session=True,
        preexec_fn=preexec,
    )


def _without(config: Mapping[str, object], base: Path | None) -> str:
    """The lines of `base` that set nothing which `config` sets: KataGo refuses a key that stands twice in a file, and a
    second file by an absolute path."""
    lines = base.read_text(encoding="utf-8").splitlines(keepends=True) if base else []
    return "".join(line for line in lines if line.partition("=")[0].strip() not in config)


class NativeProcess:
    """Use it as a context manager: the process, all that it started, and its folder end with it."""

    def __init__(
        self,
        command: Path,
        verb: str,
        network: Path,
        config: Mapping[str, object],
        *,
        fix: str = "",
        within: Path | None = None,
    ) -> None:
        """Start `command verb` (`command` is a file, or a name to look for as a shell does) on `network` (.bin.gz).
        Its folder is made `within` that one, or where temporary files lie.

        Raises:
            BenchFailed: it does not start. As all that this class raises, with `fix` if there is one.
        """
        self._fix, self._gone = fix, False
        with contextlib.ExitStack() as stack:
            try:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="katago-agent-native-", dir=within))
                )
                self._errors = stack.enter_context((folder / "stderr").open("w+", encoding="utf-8", errors="replace"))
                lines = {"logDir": folder / "logs", "homeDataDir": folder / "home", "logToStderr": "false", **config}
                self._process = start_katago(command, verb, network, lines, folder, stderr=self._errors)
            except OSError as error:
                raise self.failed(f"{command} does not start: {error.strerror or error}") from error
            self._held = stack.pop_all()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> NativeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once. Again is nothing."""
        self._end()
        with contextlib.suppress(OSError):  # what was not sent cannot be flushed any more
            self._stdin.close()
        self._stdout.close()
        self._held.close()

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """After `seconds` the process is killed, so that whoever reads its answers sees their end."""
        timer = threading.Timer(seconds, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def send(self, text: str) -> None:
        """Send `text` as a line, or as lines.

        Raises:
            BenchFailed: the process has ended; with its last words.
        """
        try:
            self._stdin.write(text.encode() + b"\n")
            self._stdin.flush()
        except OSError as error:
            raise self.ended() from error

    def line(self) -> str:
        """The next line that it says.

        Raises:
            BenchFailed: the process has ended; with its last words.
        """
        line = self._stdout.readline()
        if not line:
            raise self.ended()
        return line.decode(errors="replace").rstrip("\r\n")

    def answer(self) -> dict[str, Any]:
        """The next line that is a JSON object: a binary may print lines of its own, too. Raises as `line`."""
        while True:
            try:
                answer = json.loads(self.line())
            except ValueError:
                continue
            if isinstance(answer, dict):
                return answer

    def peak_rss_bytes(self) -> int:
        """0 where the kernel does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)

    def failed(self, reason: str) -> BenchFailed:
        """The error to raise for `reason`."""
        return BenchFailed(reason, fix=self._fix)

    def ended(self) -> BenchFailed:
        """The error to raise for a process that gives no more answers; ends with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_QUIT_S)
        self._end()
        self._errors.seek(0)
        said = self._errors.read()[-_LAST_WORDS:].strip()
        return self.failed(f"native katago ended: {said or 'it said nothing'}")

    def _end(self) -> None:
        if not self._gone:
            self._kill()
            self._process.wait()
            # From now on its number may be somebody else's.
            self._gone = True

    def _kill(self) -> None:
        # The group outlives its leader where katago's parent was a script; once all are gone there is nothing to do.
        if not self._gone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
