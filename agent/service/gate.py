"""Listening sockets that let in so many and no more, before anything is spent on who comes.

A connection that shakes hands in TLS takes 256 KiB here and a file, and has said nothing yet that could be judged: 900
of them took 270 MB, and the files that a new worker needs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import weakref
from collections.abc import Iterable
from typing import Any, Final

log = logging.getLogger(__name__)

# As asyncio's own.
_BACKLOG: Final = 100
# What a kernel without IPv6 says of its addresses, and one that has it switched off.
_NOT_SPOKEN: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Gate(socket.socket):
    """A listening socket with at most `limit` open connections at a time. Give it to asyncio as `sock`."""

    def __init__(self, family: int, limit: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._limit = limit
        self._inside: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_shut = False

    def accept(self) -> tuple[socket.socket, Any]:
        """As of every socket. Raises ConnectionAbortedError for a connection that was cut off: whoever listens takes it
        for one that its own end gave up, and goes on."""
        visitor, address = super().accept()
        inside = sum(each.fileno() >= 0 for each in self._inside)
        was_shut, self._is_shut = self._is_shut, inside >= self._limit
        if not self._is_shut:
            self._inside.add(visitor)
            return visitor, address
        visitor.close()
        if not was_shut:
            log.warning("cut off a connection: %d are open; the next ones are cut off without a word", inside)
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))


async def open_gates(host: str, port: int, limit: int) -> list[Gate]:
    """Listens at every address of `host`. As `gates_at`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return gates_at(dict.fromkeys((family, address) for family, _, _, _, address in found), limit)


def gates_at(addresses: Iterable[tuple[int, tuple[Any, ...]]], limit: int) -> list[Gate]:
    """Listens at `addresses`, each with its family; `limit` counts for each. One of a kind that this machine does not
    speak is passed over, such as ::1 of localhost where IPv6 is off.

    Raises OSError where one cannot be had, or none is left.
    """
    gates: list[Gate] = []
    passed_over: list[OSError] = []
    for family, address in addresses:
        try:
            gates.append(_open(family, address, limit))
        except OSError as error:
            if error.errno not in _NOT_SPOKEN:
                for gate in gates:
                    gate.close()
                raise
            passed_over.append(error)
    if not gates:
        raise passed_over[0]
    return gates


def _open(family: int, address: tuple[Any, ...], limit: int) -> Gate:
    gate = Gate(family, limit)
    try:
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a gate of its own.
            gate.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        gate.setblocking(False)
        gate.bind(address)
        gate.listen(_BACKLOG)
    except OSError:
        gate.close()
        raise
    return gate
