"""Provisioning in a child process, for the daemon, whose memory must stay small: the same `Plan` comes out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Final

import msgspec

from agent.errors import AgentError
from agent.events import ChainStep, Converting, DownloadProgress, Reporter, SourceFailed
from agent.plan import Plan
from agent.settings import Settings, encode_settings, own_command

# A plan with the hardware of a 128-core server is 40 kB; asyncio's own limit for a line is 64 kB.
MAX_LINE_BYTES: Final = 1 << 20


class Failure(msgspec.Struct, frozen=True, tag=True):
    """How the provisioning child tells its error."""

    message: str
    fix: str


_Line = ChainStep | DownloadProgress | SourceFailed | Converting | Plan | Failure


async def provision_apart(settings: Settings, reporter: Reporter) -> Plan:
    """As `provision`, in a child process, so that its memory is not ours.

    Raises AgentError with the child's message and fix.
    """
    child = await asyncio.create_subprocess_exec(
        *own_command(),
        "provision",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )
    assert child.stdin is not None and child.stdout is not None
    plan: Plan | None = None
    try:
        child.stdin.write(encode_settings(settings))
        child.stdin.close()
        async for line in child.stdout:
            said = msgspec.json.decode(line, type=_Line)
            if isinstance(said, Failure):
                raise AgentError(said.message, fix=said.fix)
            if isinstance(said, Plan):
                plan = said
            else:
                reporter.report(said)
        status = await child.wait()
    finally:
        if child.returncode is None:
            # The whole session: a conversion runs as the child's child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    if plan is None:
        raise AgentError(f"provisioning ended with status {status}", fix="Run `agent doctor`.")
    return plan
