"""The connection behind a client: keeps a channel to the engine open, and what is asked on it. Start at `Link.open`.

Each query has a mailbox; one task reads for all, and one writes, no more than the engine takes. When the channel
breaks, the first one opens another and asks again what has no final answer, under the same ids; who waits notices a
pause and nothing else. Where nobody was there for too long it ends; the next query begins another, which tries once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from agent.client.conversation import Conversation, Done, Failed, Heard, Report
from agent.client.endpoints import Endpoint, Retries, Stdio
from agent.client.mailbox import Mailbox
from agent.client.query import Query
from agent.client.results import EngineVersion, EngineWarning
from agent.client.transports import CLOSE_S, Channel, open_channel
from agent.client.window import SERVICE
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
        # An engine that we start is told everything at once: KataGo always reads, and where a pipe is full nobody takes
        # its reader for gone.
        self._conversation = Conversation(limits=None if isinstance(endpoint, Stdio) else SERVICE)
        self._mailboxes: dict[str, Mailbox] = {}
        self._channel: Channel | None = None
        self._listening: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        # Something may be there to be written.
        self._has_more = asyncio.Event()
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
        channel = await self._connect()
        self._failure, self._lost = None, 0
        self._begin(channel)
        self._listening = asyncio.ensure_future(self._listen(is_connected=True))

    async def close(self) -> None:
        """Never raises. Again is nothing. Who is cancelled meanwhile has let go of the engine all the same."""
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        for name in self._conversation.waiting:
            self._conversation.forget(name)
        self._fail(ClientClosed("the client was closed while this waited"))
        self._mailboxes.clear()
        listening.cancel()
        try:
            await asyncio.gather(listening, return_exceptions=True)
            if self._writing is not None:
                # Its last lines make the engine stop.
                self._has_more.set()
                await asyncio.wait((self._writing,), timeout=CLOSE_S)
        finally:
            await self._let_go()

    # ------------------------------------------------------------ asking

    def ask(self, query: Query) -> tuple[str, Mailbox]:
        """The id of `query`, and where its answers will arrive. It is sent when the engine has room for it.

        Raises ClientClosed, or AnswerUnreadable where the link was given up for it; TypeError or ValueError where
        `query` holds what JSON cannot.
        """
        self._go_on()
        return self._wait_for(self._conversation.ask(query))

    def act(self, action: str) -> tuple[str, Mailbox]:
        """As `ask`, for an action; its answer is one `Done`."""
        self._go_on()
        name, over = self._conversation.act(action)
        self._deliver(over)
        return self._wait_for(name)

    def terminate(self, name: str) -> None:
        """Make the engine answer the query `name` with what it has."""
        self._deliver(self._conversation.terminate(name))
        self._has_more.set()

    def forget(self, name: str) -> None:
        """Nobody waits for `name` any more."""
        self._mailboxes.pop(name, None)
        self._conversation.forget(name)
        self._has_more.set()

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

    def _wait_for(self, name: str) -> tuple[str, Mailbox]:
        mailbox = self._mailboxes[name] = Mailbox()
        self._has_more.set()
        return name, mailbox

    # ------------------------------------------------------------ writing

    def _begin(self, channel: Channel) -> None:
        """Use `channel` from now on, and send all that waits."""
        over = self._conversation.restart()
        # A new one: the client may be opened again on another event loop.
        self._has_more = asyncio.Event()
        self._channel = channel
        self._writing = asyncio.ensure_future(self._write(channel))
        self._deliver(over)

    async def _let_go(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        channel, self._channel, self._writing = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def _write(self, channel: Channel) -> None:
        """In order, each line once on each channel, until the client is closed. A broken channel is no error: the next
        one is sent all that waits."""
        try:
            while True:
                while (line := self._conversation.next_line()) is not None:
                    await channel.send(line)
                if isinstance(self._failure, ClientClosed):
                    return
                self._has_more.clear()
                await self._has_more.wait()
        except EngineUnreachable as error:
            log.debug("not sent now: %s", error)
        except Exception as error:
            self._fail_by_fault(error)
            if self._listening is not None:
                self._listening.cancel()

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
            self._fail_by_fault(error)

    async def _hear_all(self) -> EngineUnreachable:
        """Until the connection is lost; returns why."""
        channel = self._channel
        assert channel is not None
        while True:
            try:
                line = await channel.receive()
            except EngineUnreachable as error:
                return error
            heard = self._understand(channel, line)
            if any(isinstance(each, Done) or _is_final(each) for each in heard):
                self._lost = 0
            self._deliver(heard)
            self._has_more.set()

    async def _reconnect(self, lost: EngineUnreachable) -> None:
        await self._let_go()
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
        self._begin(await self._connect())
        if not self._conversation.waiting:
            # A service that is started anew while nobody asks anything is no failure.
            self._lost = 0

    async def _connect(self) -> Channel:
        """Opens a channel and hears the engine's version. Raises as `open`."""
        channel: Channel | None = None
        said = ""

        async def greet() -> Channel:
            nonlocal channel, said
            channel = await open_channel(self.endpoint)
            hello = Conversation("hello")
            name, _ = hello.act("query_version")
            await channel.send(hello.next_line() or b"")
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

    def _deliver(self, heard: Iterable[Heard]) -> None:
        for each in heard:
            if isinstance(each, EngineWarning):
                log.info("warning about %s %s: %s", each.id or "no query", each.field, each.text)
                self.warnings.append(each)
            mailbox = self._mailboxes.get(each.id)
            if mailbox is not None:
                mailbox.put(each)

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        for name, mailbox in self._mailboxes.items():
            mailbox.put(Failed(name, error))

    def _fail_by_fault(self, error: Exception) -> None:
        """The edge of the tasks that everybody waits for: a fault in one must wake them."""
        log.error("the client failed", exc_info=error)
        self._fail(ClientClosed(f"the client failed: {type(error).__name__}: {error}"))


def _is_final(heard: Heard) -> bool:
    return isinstance(heard, Report) and not heard.analysis.is_during_search
