"""Where the reports of one query wait until they are read. A partial report replaces the one before it, so a reader
that is slow, or none at all, costs no more memory than one report a turn."""

from __future__ import annotations

import asyncio

from agent.client.conversation import Done, Failed, Heard, Report


class Mailbox:
    def __init__(self) -> None:
        # Key: ("partial", turn) for what may be replaced, else a number of its own. Dicts keep the order of arrival.
        self._waiting: dict[object, Heard] = {}
        self._count = 0
        self._has_some = asyncio.Event()

    def put(self, heard: Heard) -> None:
        if isinstance(heard, Report):
            partial = ("partial", heard.analysis.turn_number)
            self._waiting.pop(partial, None)
            if heard.analysis.is_during_search:
                self._waiting[partial] = heard
                self._has_some.set()
                return
        self._count += 1
        self._waiting[self._count] = heard
        self._has_some.set()

    async def get(self) -> Heard:
        """The oldest that waits; waits for one.

        Raises the error of a `Failed`; it stays, so that whoever reads on is told again.
        """
        while not self._waiting:
            self._has_some.clear()
            await self._has_some.wait()
        key, heard = next(iter(self._waiting.items()))
        if isinstance(heard, Failed):
            # Not with the frames of whoever was told before.
            raise heard.error.with_traceback(None)
        del self._waiting[key]
        return heard


def is_last(heard: Heard) -> bool:
    """Whether nothing more comes after it."""
    return isinstance(heard, Done | Failed) or bool(getattr(heard, "is_last", False))
