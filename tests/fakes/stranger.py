"""Running a part as another user, so that permissions are real also where the tests run as root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

# Linux's own number for a user who is nobody.
STRANGER = 65534


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write; pytest's own are for their user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def in_child(context: ForkServerContext, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own; what it raises is raised. Function and arguments can be
    pickled."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        outcome, value = ours.recv()
    finally:
        process.join(60)
    if outcome == "raised":
        raise value
    return value


def as_stranger(context: ForkServerContext, function: Callable[..., Any], *arguments: Any) -> Any:
    """The same as a user who may do nothing special; without root that is this one."""
    return in_child(context, _strange, function, arguments)


def _strange(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
    return function(*arguments)


def _run(answers: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answers.send(("returned", function(*arguments)))
    except Exception as error:
        # This process's edge: whatever it is, the test is to see it.
        answers.send(("raised", error))
