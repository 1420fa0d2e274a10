"""Rule sets as KataGo names and writes them. Knows nothing of boards; the core enforces what this describes.

Source of the names, defaults and spellings: KataGo cpp/game/rules.cpp.
"""

from __future__ import annotations

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """Values are KataGo's own spellings.

    `ko`: SIMPLE, POSITIONAL, SITUATIONAL. `scoring`: AREA, TERRITORY. `tax`: NONE, SEKI, ALL.
    `white_handicap_bonus`: "0", "N", "N-1".
    """

    ko: str = "POSITIONAL"
    scoring: str = "AREA"
    tax: str = "NONE"
    suicide: bool = True
    has_button: bool = False
    white_handicap_bonus: str = "0"
    friendly_pass_ok: bool = False
