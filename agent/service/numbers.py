"""How KataGo rounds, prints and reads numbers. Pure; used by both protocols.

Source: KataGo cpp/core/global.cpp (roundDynamic, roundStatic, tryStringToInt, tryStringToDouble).
"""

from __future__ import annotations

import math
import re

# Digits after the first that the analysis engine prints.
ANALYSIS_DIGITS = 8
# Ownership is printed in millionths.
OWNERSHIP_SCALE = 1e6

_INT = re.compile(r"[+-]?[0-9]{1,10}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_INT_LIMIT = 2**31


def round_half_away(x: float) -> float:
    """C's round(): halves go away from zero."""
    return math.copysign(math.floor(abs(x) + 0.5), x)


def round_scaled(x: float, scale: float) -> float:
    return round_half_away(x * scale) / scale


def round_dynamic(x: float, digits: int = ANALYSIS_DIGITS) -> float | None:
    """`x` to `digits` digits after the first one; None, which JSON prints as null, where it is no number."""
    if not math.isfinite(x):
        return None
    if abs(x) <= 1e-60:
        return x
    magnitude = math.floor(math.log10(abs(x))) - digits
    return round_half_away(x) if magnitude >= 0 else round_scaled(x, 10.0**-magnitude)


def general(x: float) -> str:
    """Six significant digits, as C++ streams print a double."""
    return f"{x:g}"


def parse_int(text: str) -> int | None:
    """A 32-bit integer, or None."""
    if not _INT.fullmatch(text):
        return None
    value = int(text)
    return value if -_INT_LIMIT <= value < _INT_LIMIT else None


def parse_float(text: str) -> float | None:
    """A finite decimal number, or None; "nan" and "inf" are none."""
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def parse_bool(text: str) -> bool | None:
    """true or false in any case, or None."""
    return {"true": True, "false": False}.get(text.lower())
