"""Trains a tiny network, in processes that kill themselves at given moments. See tests/workshop/test_qat_kills.py.

One interpreter loads PyTorch once and forks for every attempt. Arguments: the network's file, the folder, and for each
attempt the number of the event at which it dies by SIGKILL; the last attempt lives. Prints how each one ended.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from fakes.tiny_qat import run_of

from agent.events import Event
from agent.workshop.proof import prove
from agent.workshop.qat import train


class Killer:
    """Ends this process at an event, as a power cut would."""

    def __init__(self, at: int) -> None:
        self._left = at

    def report(self, event: Event) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(network: Path, folder: Path, dies_at: int) -> int:
    child = os.fork()
    if not child:
        train(run_of(network), folder, prove, Killer(dies_at))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def load_what_the_attempts_need() -> None:
    """PyTorch's optimiser loads half of PyTorch at its first step; the forks would each do it again."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    torch.optim.AdamW([parameter]).step()


def main() -> None:
    load_what_the_attempts_need()
    network, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for moment in [*map(int, sys.argv[3:]), 0]:
        print(attempt(network, folder, moment), sorted(path.name for path in folder.glob("*")), flush=True)


if __name__ == "__main__":
    main()
