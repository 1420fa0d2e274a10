"""Where every process of ours begins: the installed commands with `agent` and `katago`, and as a script the agent's own
child processes, `python …/agent/launch.py VERB …`.

Not `python -m agent`: that would look for modules in the current folder first, which is anybody's, and would not find
this package from any other folder when it runs from a work tree. Everything else is in the verbs; only the daemon's own
process and a katago's worker go past them, because the command line's libraries would stay in memory (8 MB of 40).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def agent() -> None:
    """Entry point of the `agent` and `katago-agent` commands."""
    _enter("agent.__main__", "main")


def katago() -> None:
    """Entry point of `katago-agent-katago`, for a client that takes the path of a katago: KataGo's own arguments."""
    _enter("agent.__main__", "katago")


def find_package() -> None:
    """Make this package importable, and nothing beside it that a script's folder would add."""
    folder = Path(__file__).parent
    if sys.path and Path(sys.path[0]) == folder:
        del sys.path[0]
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


def _enter(module: str, function: str) -> None:
    try:
        getattr(importlib.import_module(module), function)()
    except KeyboardInterrupt:
        # Before the verb that would see to it: importing takes a second on a small computer.
        sys.exit(130)
    finally:
        _let_go_of_stderr()


def _let_go_of_stderr() -> None:
    """Where nobody reads it any more, Python's last flush of it would end a process that did all its work with 120."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    find_package()
    if sys.argv[1:2] == ["daemon"]:
        _enter("agent.daemon", "main")
    elif sys.argv[1:2] == ["engine-native"]:
        _enter("agent.engine.native_worker", "main")
    else:
        agent()
