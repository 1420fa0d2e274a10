"""A fact that could not be found out, and why. Everything that is detected is either a value or an `Unknown`."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class Unknown(msgspec.Struct, frozen=True):
    """The place of a missing fact. `reason` names the file and what was wrong; in JSON it is `{"unknown": reason}`."""

    reason: str = msgspec.field(name="unknown")


# What a probe returns. Probes never raise.
Probe: TypeAlias = T | Unknown
