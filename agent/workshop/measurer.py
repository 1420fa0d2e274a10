"""The `Measurer` of real machines: each contender in a child process of its own, whose answers are checked first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from agent.engine.tuning import Contender
from agent.errors import BackendUnavailable
from agent.workshop.probe import OPEN_S, Probe
from agent.workshop.probe_messages import Answers
from agent.workshop.small_check import differences
from agent.workshop.sweep import Option, Sample

MAIN_SIDE: Final = 19
# Children that wait with their network loaded may hold this share of the memory that a worker may take; the rest of the
# machine is in use.
_WAITING_SHARE: Final = 0.75


class ChildMeasurer:
    """Children with loaded networks, as many as memory allows; the one that was used longest ago makes room. A context
    manager: no child outlives it."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        expected: Answers | None,
        threads: int,
        memory_bytes: int | None,
        open_probe: Callable[[], Probe] = Probe,
        *,
        undisturbed: bool = True,
    ) -> None:
        """`expected` are the check's right answers, if any; `threads` the most that will call at once; `memory_bytes`
        what a worker may take (None: unknown). `undisturbed` leaves out what other processes took."""
        self._contenders, self._expected, self._open_probe = contenders, expected, open_probe
        self._threads = threads
        self._undisturbed = undisturbed
        self._room_bytes = None if memory_bytes is None else int(memory_bytes * _WAITING_SHARE)
        # In the order of use, the latest last.
        self._probes: dict[int, Probe] = {}
        self._bytes: dict[int, int] = {}
        self._checked: set[int] = set()

    def __enter__(self) -> ChildMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._probes):
            self._close(number)

    def measure(self, option: Option, seconds: float, side: int = MAIN_SIDE) -> Sample:
        """See `sweep.Measurer`; on a board of `side`² points."""
        number = option.contender
        try:
            measured = self._probe(number).measure(option.way, side, seconds, undisturbed=self._undisturbed)
            if not (measured.evaluations > 0 and 0 < measured.seconds < math.inf):
                raise BackendUnavailable(f"it counted {measured.evaluations} evaluations in {measured.seconds:g} s")
        except BackendUnavailable:
            self._close(number)
            raise
        self._bytes[number] = measured.peak_rss_bytes
        self._make_room(keep=number)
        return Sample(measured.evaluations, measured.seconds, measured.peak_rss_bytes)

    def _probe(self, number: int) -> Probe:
        probe = self._probes.pop(number, None)
        if probe is None:
            probe = self._open(number)
        self._probes[number] = probe
        return probe

    def _open(self, number: int) -> Probe:
        contender = self._contenders[number]
        probe = self._open_probe()
        try:
            probe.open(contender.backend, contender.path, self._threads, OPEN_S)
            if number not in self._checked:
                answers = probe.answers()
                wrong = self._expected and differences(answers, self._expected, contender.precision)
                if wrong:
                    raise BackendUnavailable(wrong)
                self._checked.add(number)
        except BaseException:
            probe.close()
            raise
        return probe

    def _make_room(self, keep: int) -> None:
        for number in [number for number in self._probes if number != keep]:
            held = sum(self._bytes.get(each, 0) for each in self._probes)
            if self._room_bytes is None or held <= self._room_bytes:
                return
            self._close(number)

    def _close(self, number: int) -> None:
        probe = self._probes.pop(number, None)
        if probe is not None:
            probe.close()
