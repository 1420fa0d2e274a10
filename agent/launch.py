"""Starts the agent's own child processes, as a script: `python …/agent/launch.py VERB …`.

Not `python -m agent`: that would look for modules in the current folder first, which is anybody's, and would not find
this package from any other folder when it runs from a work tree. Everything else is in the verbs; only the daemon's own
process and a katago's worker go past them, because the command line's libraries would stay in memory (8 MB of 40).
"""

from __future__ import annotations

import sys
from pathlib import Path


def find_package() -> None:
    """Make this package importable, and nothing beside it that a script's folder would add."""
    folder = Path(__file__).parent
    if sys.path and Path(sys.path[0]) == folder:
        del sys.path[0]
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


if __name__ == "__main__":
    find_package()
    if sys.argv[1:2] == ["daemon"]:
        from agent.daemon import main
    elif sys.argv[1:2] == ["engine-native"]:
        from agent.engine.native_worker import main
    else:
        from agent.__main__ import main
    main()
