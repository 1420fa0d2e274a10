"""The daemon's sockets where they cannot be opened; `test_run.py` opens them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fakes.engine import FakeEngine
from msgspec.structs import replace

from agent.engine.messages import Engine
from agent.errors import AddressTaken
from agent.events import Event
from agent.service.access import NO_GUARD
from agent.service.doors import Doors
from agent.service.gtp import GtpConnection
from agent.service.options import ServiceOptions
from agent.service.outputs import Connection
from agent.settings import Settings


class Events(list[Event]):
    def report(self, event: Event) -> None:
        self.append(event)


def make_gtp(engine: Engine) -> Connection:
    return GtpConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


@pytest.mark.parametrize("key", ["gtp_address", "analysis_address", "websocket_address"])
def test_a_name_that_leads_nowhere_is_told_with_its_key(key: str) -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            events = Events()
            doors = Doors(FakeEngine(), NO_GUARD, stack, events)
            closed = Settings(gtp_address=None, analysis_address=None, websocket_address=None, gtp_socket=None)
            settings = replace(closed, analysis_socket=None, **{key: "nobody.invalid:4640"})
            with pytest.raises(AddressTaken, match=r"(?i)nobody.invalid:4640: .*name") as caught:
                await doors.open(settings, gtp=make_gtp, analysis=make_gtp, websocket=make_gtp)
            assert key in caught.value.fix and not events and doors.clients == 0

    asyncio.run(test())
