"""A Raspberry Pi's firmware, asked for its throttle word through the mailbox device, as `vcgencmd get_throttled` does.

One ioctl takes 3 ms where a vcgencmd process takes 14. Since kernel 6.18 /dev/vcio is root's alone and the group video
gets /dev/vcio_gencmd; on older kernels with newer udev rules a normal user has neither.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
from typing import Protocol

from agent.hardware.root import Root, in_words
from agent.hardware.unknown import Unknown

_NODES = ("/dev/vcio_gencmd", "/dev/vcio")
# _IOWR(100, 0, char *) with 8-byte pointers; the tag that runs a gencmd; both from the firmware's property interface.
_PROPERTY_IOCTL = 0xC0086400
_GENCMD_TAG = 0x00030080
_TEXT_BYTES = 1024
# size, request code, tag, buffer size, request length, error; the text; an end tag of 0.
_MESSAGE = struct.Struct(f"=6I{_TEXT_BYTES}sI")


class Firmware(Protocol):
    def throttle_word(self) -> int | Unknown:
        """The bits of `get_throttled`. Must not raise."""


class Mailbox:
    """The firmware of the running system."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def throttle_word(self) -> int | Unknown:
        """From the first device node that is there and may be opened."""
        if not self._root.is_running_system:
            return Unknown("the firmware can be asked on the running system only")
        reasons = []
        for node in _NODES:
            try:
                answer = _ask(node, b"get_throttled")
            except OSError as error:
                reasons.append(f"{node}: {in_words(error)}")
                continue
            return parse_throttled(answer)
        return Unknown("; ".join(reasons))


def _ask(node: str, command: bytes) -> bytes:
    """Raises OSError."""
    descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
            return b""
        message = bytearray(_MESSAGE.pack(_MESSAGE.size, 0, _GENCMD_TAG, _TEXT_BYTES, 0, 0, command, 0))
        fcntl.ioctl(descriptor, _PROPERTY_IOCTL, message)
    finally:
        os.close(descriptor)
    text: bytes = _MESSAGE.unpack(bytes(message))[6]
    return text.split(b"\0", 1)[0]


def parse_throttled(answer: bytes) -> int | Unknown:
    """The number of "throttled=0x50005"."""
    match = re.fullmatch(rb"throttled=0x([0-9a-fA-F]{1,8})\s*", answer)
    return int(match[1], 16) if match else Unknown(f"the firmware answered {answer[:40]!r} to get_throttled")
