"""Draws what a command prints on a terminal as an SVG: python docs/picture.py OUT.svg COMMAND [ARGUMENT…]

The README's picture: python docs/picture.py docs/first-run.svg agent run --once
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 110


def draw(command: list[str]) -> str:
    """The command's standard output as SVG, under the line that was typed. Progress keeps its last line only."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (" ".join(command), "bold")))
    lines = done.stdout.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        name, _, detail = line.partition("  ")
        if "%" in line and line.split(":")[0] == following.split(":")[0]:
            continue
        console.print(Text.assemble((name, "cyan"), ("  " + detail if detail else "")))
    return console.export_svg(title="katago-agent")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(sys.argv[2:]), encoding="utf-8")
