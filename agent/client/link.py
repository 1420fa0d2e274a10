"""The connection behind a client: keeps a channel to the engine open, and what is asked on it. Start at `Link.open`.

Each query has a mailbox, and one task reads for all. When the channel breaks, that task opens another and asks again
what has no final answer, under the same ids; who waits notices a pause and nothing else. Where nobody was there for too
long the task ends; the next query begins another, which tries once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from agent.client.conversation import Conversation, Done, Failed, Heard, Report
from agent.client.endpoints import Endpoint, Retries
from agent.client.mailbox import Mailbox
from agent.client.query import Query
from agent.client.results import EngineVersion, EngineWarning
from agent.client.transports import CLOSE_S, Channel, open_channel, send_all
from agent.errors import AnswerUnreadable, ClientClosed, ClientError, EngineUnreachable
from agent.waiting import within

log = logging.getLogger(__name__)

# The newest are kept: an old client may send a field to every query that this engine does not know.
WARNINGS_KEPT = 100
# How GTP's answers begin: somebody gave the address or the command of that protocol.
_GTP = (b"=", b"?")
# Characters of a line that is no answer, in an error.
SAID = 200


class Link:
    """Not open until `open` returns. `version` is what the engine said of itself when the channel was opened last."""

    def __init__(self, endpoint: Endpoint, connect_s: float, retries: Retries) -> None:
        self.endpoint = endpoint
        self.version = EngineVersion("")
        self.warnings: deque[EngineWarning] = deque(maxlen=WARNINGS_KEPT)
        self._connect_s = connect_s
        self._retries = retries
        self._conversation = Conversation()
        self._mailboxes: dict[str, Mailbox] = {}
        self._sending = asyncio.Lock()
        self._channel: Channel | None = None
        self._listening: asyncio.Task[None] | None = None
        # Lines whose sender does not wait, such as the end of a cancelled query; they go before whatever is sent next.
        self._aside: list[bytes] = []
        self._sending_aside: set[asyncio.Task[None]] = set()
        self._failure: ClientError | None = ClientClosed("the client is not open")
        # Connections in a row on which nothing was answered to the end.
        self._lost = 0

    # ------------------------------------------------------------ life

    async def open(self) -> None:
        """Raises EngineUnreachable, AnswerUnreadable. Again is nothing, but for a link that was given up."""
        if self._listening is not None:
            if not self._listening.done():
                return
            await self.close()
        self._channel = await self._connect()
        self._failure, self._lost = None, 0
        self._listening = asyncio.ensure_future(self._listen(is_connected=True))

    async def close(self) -> None:
        """Never raises. Again is nothing. Who is cancelled meanwhile has let go of the engine all the same."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        lines = [line for name in self._conversation.waiting for line in self._conversation.forget(name)]
        self._fail(ClientClosed("the client was closed while this waited"))
        self._mailboxes.clear()
        listening.cancel()
        try:
            await asyncio.gather(listening, return_exceptions=True)
            if self._sending_aside:
                await asyncio.wait(self._sending_aside, timeout=CLOSE_S)
            if self._channel is not None:
                await within(send_all(self._channel, lines), CLOSE_S)
        except (EngineUnreachable, asyncio.TimeoutError):
            log.debug("the engine was gone before it could be told to stop")
        finally:
            for sending in list(self._sending_aside):
                sending.cancel()
            channel, self._channel = self._channel, None
            if channel is not None:
                await channel.close()

    # ------------------------------------------------------------ asking

    async def ask(self, query: Query) -> tuple[str, Mailbox]:
        """The id of `query`, and where its answers will arrive.

        Raises ClientClosed, or AnswerUnreadable where the link was given up for it.
        """
        self._go_on()
        return await self._wait_for(*self._conversation.ask(query))

    async def act(self, action: str) -> tuple[str, Mailbox]:
        """As `ask`, for an action; its answer is one `Done`."""
        self._go_on()
        return await self._wait_for(*self._conversation.act(action))

    async def terminate(self, name: str) -> None:
        """Make the engine answer the query `name` with what it has."""
        await self._send(self._conversation.terminate(name))

    def forget(self, name: str) -> None:
        """Nobody waits for `name` any more. Does not wait itself, so that a cancelled caller may call it."""
        self._mailboxes.pop(name, None)
        lines = self._conversation.forget(name)
        if lines and self._failure is None:
            self._aside += lines
            sending = asyncio.ensure_future(self._send([]))
            self._sending_aside.add(sending)
            sending.add_done_callback(self._sending_aside.discard)

    def _go_on(self) -> None:
        """Where nobody was there, somebody may be by now: the service of an idle client was away for longer than its
        retries. Once: an engine that dies of this query, too, is not started again."""
        if isinstance(self._failure, EngineUnreachable):
            for name in self._conversation.waiting:
                self._conversation.forget(name)
            self._failure, self._lost = None, self._retries.attempts
            self._listening = asyncio.ensure_future(self._listen(is_connected=False))
        if self._failure is not None:
            # The same error again and again, else with one more frame each time.
            raise self._failure.with_traceback(None)

    async def _wait_for(self, name: str, line: bytes) -> tuple[str, Mailbox]:
        mailbox = self._mailboxes[name] = Mailbox()
        try:
            await self._send([line])
        except BaseException:
            # Cancelled while the engine took no input: it must not be asked for nobody.
            self.forget(name)
            raise
        return name, mailbox

    async def _send(self, lines: Sequence[bytes]) -> None:
        """In order, each once on each channel. A broken channel is no error: the next one is sent all that waits."""
        channel = self._channel
        async with self._sending:
            if channel is None or channel is not self._channel:
                return
            try:
                while self._aside:
                    # Sent twice where this sender is cancelled meanwhile; nothing is terminated twice.
                    line = self._aside[0]
                    await channel.send(line)
                    if self._aside[:1] == [line]:
                        del self._aside[0]
                await send_all(channel, lines)
            except EngineUnreachable as error:
                log.debug("not sent now: %s", error)

    # ------------------------------------------------------------ listening

    async def _listen(self, *, is_connected: bool) -> None:
        try:
            if not is_connected:
                await self._resume()
            while True:
                lost = await self._hear_all()
                await self._reconnect(lost)
        except ClientError as error:
            self._fail(error)
        except Exception as error:
            # The edge of the task that everybody waits for: a fault in it must wake them.
            log.exception("the client failed")
            self._fail(ClientClosed(f"the client failed: {type(error).__name__}: {error}"))

    async def _hear_all(self) -> EngineUnreachable:
        """Until the connection is lost; returns why."""
        channel = self._channel
        assert channel is not None
        while True:
            try:
                line = await channel.receive()
            except EngineUnreachable as error:
                return error
            for heard in self._understand(channel, line):
                if isinstance(heard, Done) or (isinstance(heard, Report) and not heard.analysis.is_during_search):
                    self._lost = 0
                self._deliver(heard)

    async def _reconnect(self, lost: EngineUnreachable) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        while self._lost < self._retries.attempts:
            self._lost += 1
            log.info("%s; attempt %d of %d to go on", lost, self._lost, self._retries.attempts)
            await asyncio.sleep(self._retries.wait_before(self._lost))
            try:
                return await self._resume()
            except EngineUnreachable as error:
                lost = error
        raise lost

    async def _resume(self) -> None:
        """Another channel, and on it all that waits. Raises as `open`."""
        channel = await self._connect()
        # From here to the lock in `_send` nothing waits: whatever is asked later is sent after these.
        lines, over = self._conversation.restart()
        self._aside.clear()
        self._channel = channel
        if not lines:
            # A service that is started anew while nobody asks anything is no failure.
            self._lost = 0
        for heard in over:
            self._deliver(heard)
        await self._send(lines)

    async def _connect(self) -> Channel:
        """Opens a channel and hears the engine's version. Raises as `open`."""
        channel: Channel | None = None
        said = ""

        async def greet() -> Channel:
            nonlocal channel, said
            channel = await open_channel(self.endpoint)
            hello = Conversation("hello")
            name, line = hello.act("query_version")
            await channel.send(line)
            while True:
                try:
                    line = await channel.receive()
                except EngineUnreachable as error:
                    # Such as why it does not let us in.
                    raise EngineUnreachable(f"{error}; it said: {said[:SAID]}" if said else str(error)) from error
                said = line.decode(errors="replace").strip() or said
                for heard in self._understand(channel, line, hello):
                    if isinstance(heard, Failed):
                        raise AnswerUnreadable(f"{self.endpoint} does not say its version: {heard.error}")
                    if isinstance(heard, Done) and heard.id == name:
                        version, git_hash = heard.reply.get("version", ""), heard.reply.get("git_hash", "")
                        self.version = EngineVersion(str(version), str(git_hash))
                        return channel

        try:
            return await within(greet(), self._connect_s)
        except BaseException as error:
            # Also a cancelled caller leaves no process behind.
            if channel is not None:
                await channel.close()
            if isinstance(error, asyncio.TimeoutError):
                heard = f"; it only said: {said[:SAID]}" if said else ""
                raise EngineUnreachable(
                    f"{self.endpoint} did not answer within {self._connect_s:g} s{heard}"
                ) from error
            raise

    def _understand(self, channel: Channel, line: bytes, conversation: Conversation | None = None) -> list[Heard]:
        try:
            return (conversation or self._conversation).receive(line)
        except AnswerUnreadable as error:
            if line.startswith(_GTP):
                raise AnswerUnreadable(f"{self.endpoint} speaks GTP, not the JSON analysis protocol") from error
            if not channel.may_chatter:
                raise
            log.info("%s", error)
            return []

    def _deliver(self, heard: Heard) -> None:
        if isinstance(heard, EngineWarning):
            log.info("warning about %s %s: %s", heard.id or "no query", heard.field, heard.text)
            self.warnings.append(heard)
        mailbox = self._mailboxes.get(heard.id)
        if mailbox is not None:
            mailbox.put(heard)

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        for name, mailbox in self._mailboxes.items():
            mailbox.put(Failed(name, error))
