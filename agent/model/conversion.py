"""A network's conversion in a process of its own; what a conversion is, that process knows (`agent/export`)."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import ConversionFailed
from agent.events import Converting, Reporter
from agent.lifeline import die_with_parent
from agent.settings import own_command

# b18c384nbt on a Cortex-A53 converts in minutes; beyond this it hangs.
CONVERT_S: Final = 1800.0


def convert_apart(
    source: Path,
    out: Path,
    reporter: Reporter,
    form: str = "auto",
    human_profile: str = "",
    *,
    limit_s: float = CONVERT_S,
) -> None:
    """Convert in a process of its own, whose memory (the whole network in fp32) goes when it ends.

    Raises ConversionFailed, also after `limit_s` seconds.
    """
    options = ["--json", "--form", form, "--human-profile", human_profile]
    command = [*own_command(), "convert", *options, str(source), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent) as child:
        assert child.stdout is not None
        # Not a limit of `wait`: one that hangs keeps its standard output open, and we would wait for that.
        limit = threading.Timer(limit_s, child.kill)
        limit.start()
        try:
            for line in child.stdout:
                with contextlib.suppress(msgspec.MsgspecError):
                    # The last line is the network's info, which we read from the file itself.
                    reporter.report(msgspec.json.decode(line, type=Converting))
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            limit.cancel()
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C reaches the child first
    if status == -signal.SIGKILL:
        reason = f"its process was killed, for want of memory or because it took more than {limit_s:.0f} s"
        raise ConversionFailed(f"{source} could not be converted: {reason}")
    if status:
        raise ConversionFailed(f"{source} could not be converted (status {status}; the reason stands above)")
