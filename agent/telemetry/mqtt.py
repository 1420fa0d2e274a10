"""The connection to the broker: the only file that imports paho. Knows topics and payloads only as text and bytes.

Start reading at `Link.run`. Each connection is a new paho client with its own thread; a lost one is thrown away with
whatever it still held, so that nothing stale can overtake what is announced on the next. Everything of ours lives on
the event loop and never waits for the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import BrokerUnreachable
from agent.settings import Mqtt, format_address
from agent.telemetry.messages import Message, as_historical
from agent.waiting import within

log = logging.getLogger(__name__)

# A dead connection is noticed by either side within one and a half of these; a ping is two bytes.
KEEPALIVE_S: Final = 15
# So long for TCP, TLS and the broker's greeting; a phone's uplink needs seconds.
CONNECT_S: Final = 10.0
# First retry soon (a broker restarts in a second), then rarely enough for a thousand devices to be polite.
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# News kept while offline: ten minutes of measurements. What must survive longer is the spool's to keep.
BACKLOG: Final = 128
# At an orderly end: so long for the last messages to be acknowledged.
GOODBYE_S: Final = 2.0

OnMessage = Callable[[str, bytes], None]


class Link:
    """A connection that comes back by itself. `will` is what the broker says when it breaks; every message given to
    `retain` is sent again on every connection; `subscribe` likewise. `failure` is why the last try gave none, if so."""

    def __init__(
        self, broker: Mqtt, client_id: str, *, will: Message | None = None, keepalive_s: int = KEEPALIVE_S
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._will = will
        self._keepalive_s = keepalive_s
        self._client: Client | None = None
        self._retained: dict[str, Message] = {}
        self._backlog: deque[Message] = deque(maxlen=BACKLOG)
        self._subscriptions: dict[str, int] = {}
        self._listeners: list[OnMessage] = []
        self._unacknowledged: MQTTMessageInfo | None = None
        self.connected = asyncio.Event()
        self.connections = 0
        self.trouble = "not connected yet"
        self.failure: BrokerUnreachable | None = None

    @property
    def address(self) -> str:
        return format_address(self._broker.host or "127.0.0.1", self._broker.broker_port)

    # ------------------------------------------------------------ saying and hearing

    def retain(self, message: Message) -> None:
        """Say it now where possible, and on every connection from now on; an empty payload clears what was retained."""
        self._retained[message.topic] = message
        if self._client is not None:
            self._publish(self._client, message)

    def send(self, message: Message) -> None:
        """Say it once; while offline the newest `BACKLOG` messages wait."""
        if self._client is not None:
            self._publish(self._client, message)
        else:
            self._backlog.append(as_historical(message))

    def subscribe(self, topic: str, listen: OnMessage, *, qos: int = 1) -> None:
        """`listen` is called on the event loop with topic and payload of everything that this link hears."""
        self._subscriptions[topic] = qos
        if listen not in self._listeners:
            self._listeners.append(listen)
        if self._client is not None:
            self._client.subscribe(topic, qos)

    def _publish(self, client: Client, message: Message) -> None:
        info = client.publish(message.topic, message.payload, message.qos, message.retain)
        if message.qos:
            self._unacknowledged = info

    # ------------------------------------------------------------ being connected

    async def run(self) -> None:
        """Stay connected until cancelled; then say what was said last, and part in order."""
        if self._broker.seems_to_lack_tls:
            log.warning(
                "%s is usually TLS's port: for TLS write `tls: {}` below mqtt, else all goes in clear", self.address
            )
        failures = 0
        while True:
            before = self.connections
            try:
                await self._connection()
            except BrokerUnreachable as error:
                if self.trouble != str(error):
                    log.warning("%s; trying again", error)
                self.trouble, self.failure = str(error), error
            failures = 0 if self.connections > before else failures + 1
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _connection(self) -> None:
        """One connection from its start to its loss.

        Raises BrokerUnreachable.
        """
        greeted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        lost = asyncio.Event()
        client = self._make_client(greeted, lost)
        try:
            await self._connect(client, greeted)
            self._arrive(client)
            await lost.wait()
            self.trouble = f"the connection to {self.address} was lost"
            log.warning("%s", self.trouble)
        except asyncio.CancelledError:
            await self._part(client)
            raise
        finally:
            self._client = None
            self.connected.clear()
            await _in_thread(lambda: stop_thread(client))

    async def _connect(self, client: Client, greeted: asyncio.Future[str]) -> None:
        host, port = self._broker.host or "127.0.0.1", self._broker.broker_port
        try:
            # The name lookup, TCP and TLS wait; so not on the event loop.
            await _in_thread(lambda: client.connect(host, port, self._keepalive_s))
            client.loop_start()
            refusal = await within(greeted, CONNECT_S)
        except asyncio.TimeoutError as error:
            raise BrokerUnreachable(f"the broker at {self.address} does not greet") from error
        except (OSError, ValueError) as error:
            # ssl.SSLError is an OSError; paho raises ValueError for an impossible host name.
            raise BrokerUnreachable(f"the broker at {self.address} does not answer: {error}") from error
        if refusal:
            fix = "Check mqtt.username and mqtt.password_file in agent.yaml."
            raise BrokerUnreachable(f"the broker at {self.address} refuses us: {refusal}", fix=fix)

    def _arrive(self, client: Client) -> None:
        for topic, qos in self._subscriptions.items():
            client.subscribe(topic, qos)
        for message in self._retained.values():
            self._publish(client, message)
        while self._backlog:
            self._publish(client, self._backlog.popleft())
        self._client = client
        self.connections += 1
        self.trouble, self.failure = "", None
        self.connected.set()
        log.info("connected to the broker at %s", self.address)

    async def _part(self, client: Client) -> None:
        """Give the last message time to be acknowledged, then disconnect, so that the will is not said."""
        last = self._unacknowledged
        if self._client is None or last is None:
            return
        with contextlib.suppress(RuntimeError, ValueError):
            # Either means that the connection broke just now; then the will speaks for us.
            await _in_thread(lambda: last.wait_for_publish(GOODBYE_S))
        client.disconnect()

    def _make_client(self, greeted: asyncio.Future[str], lost: asyncio.Event) -> Client:
        """A client whose thread tells the event loop what happens, and nothing else.

        Raises BrokerUnreachable for files that cannot be read.
        """
        tell = asyncio.get_running_loop().call_soon_threadsafe
        client = Client(CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTv311, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_S
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        try:
            self._show_papers(client)
        except (OSError, ValueError) as error:
            fix = "Check mqtt.password_file and mqtt.tls in agent.yaml."
            if isinstance(error, PermissionError):
                fix = "Go on with sudo, or let this user read what mqtt.password_file and mqtt.tls in agent.yaml name."
            raise BrokerUnreachable(f"a file for the broker cannot be used: {error}", fix=fix) from error

        def on_connect(_: Client, __: Any, ___: ConnectFlags, code: ReasonCode, ____: Properties | None) -> None:
            tell(_settle, greeted, str(code) if code.is_failure else "")

        def on_disconnect(_: Client, __: Any, ___: DisconnectFlags, code: ReasonCode, ____: Properties | None) -> None:
            with contextlib.suppress(RuntimeError):
                # The loop is closed: nobody is left to tell.
                tell(_settle, greeted, str(code))
                tell(lost.set)

        def on_message(_: Client, __: Any, message: MQTTMessage) -> None:
            tell(self._hear, message.topic, bytes(message.payload))

        client.on_connect, client.on_disconnect, client.on_message = on_connect, on_disconnect, on_message
        return client

    def _show_papers(self, client: Client) -> None:
        """User, password and certificates; read for every connection, so that renewed ones are used."""
        broker = self._broker
        if broker.username is not None:
            file = broker.password_file
            client.username_pw_set(broker.username, file.read_text(encoding="utf-8").rstrip("\n") if file else None)
        if broker.tls is not None:
            paths = (broker.tls.ca, broker.tls.cert, broker.tls.key)
            ca, cert, key = (str(path) if path else None for path in paths)
            client.tls_set(ca, cert, key)
            client.tls_insecure_set(broker.tls.insecure)

    def _hear(self, topic: str, payload: bytes) -> None:
        for listen in self._listeners:
            listen(topic, payload)


def stop_thread(client: Client) -> None:
    """Returns when the client's thread has ended."""
    # paho looks for its thread twice, and the thread's own end in between, likely after a loss, takes it away.
    with contextlib.suppress(AttributeError):
        client.loop_stop()


def _settle(future: asyncio.Future[str], result: str) -> None:
    if not future.done():
        future.set_result(result)


async def _in_thread(work: Callable[[], Any]) -> None:
    """Run what may block in a thread of its own, which cannot hold up the end of the process as a pool's would.

    Raises what `work` raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:
            # A thread's edge: the waiter on the loop gets it.
            error = raised
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, daemon=True).start()
    await done
