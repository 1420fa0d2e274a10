"""A process that writes a file where there may be no room: `python -m fakes.write_child PATH SIZE LIMIT`, in bytes.

LIMIT is how large a file may grow, 0 for any size. Prints, as JSON, the error, whether the file is the old one, and all
names beside it, because the disk may be gone when the process ends.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
from pathlib import Path

from agent.model.disk import write_atomically

OLD = b"old"


def run(path: Path, size_bytes: int, limit_bytes: int) -> dict[str, object]:
    path.write_bytes(OLD)
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    error = 0
    try:
        write_atomically(path, bytes(size_bytes))
    except OSError as raised:
        error = raised.errno or -1
    return {
        "error": errno.errorcode.get(error, ""),
        "old": path.read_bytes() == OLD,
        "names": sorted(each.name for each in path.parent.iterdir()),
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
