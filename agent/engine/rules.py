"""Rule sets as KataGo names, reads and writes them. Knows nothing of boards; the core enforces what this describes.

Start at `parse_rules`. Source of the names, defaults, spellings and error texts: KataGo cpp/game/rules.cpp.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

import msgspec

from agent.errors import RulesError

KO_RULES: Final = ("SIMPLE", "POSITIONAL", "SITUATIONAL", "SPIGHT")
SCORING_RULES: Final = ("AREA", "TERRITORY")
TAX_RULES: Final = ("NONE", "SEKI", "ALL")
HANDICAP_BONUSES: Final = ("0", "N", "N-1")

MAX_KOMI: Final = 400.0  # KataGo's Rules::MAX_USER_KOMI


class Rules(msgspec.Struct, frozen=True):
    """Values are KataGo's own spellings. The defaults are Tromp-Taylor.

    `ko`: SIMPLE, POSITIONAL, SITUATIONAL, SPIGHT. `scoring`: AREA, TERRITORY. `tax`: NONE, SEKI, ALL.
    `white_handicap_bonus`: "0", "N", "N-1".
    """

    ko: str = "POSITIONAL"
    scoring: str = "AREA"
    tax: str = "NONE"
    suicide: bool = True
    has_button: bool = False
    white_handicap_bonus: str = "0"
    friendly_pass_ok: bool = False


class RulesAndKomi(NamedTuple):
    rules: Rules
    komi: float


_JAPANESE = RulesAndKomi(Rules("SIMPLE", "TERRITORY", "SEKI", suicide=False), 6.5)
_CHINESE_ONLINE = RulesAndKomi(
    Rules("POSITIONAL", "AREA", "NONE", suicide=False, white_handicap_bonus="N", friendly_pass_ok=True), 7.5
)
_STONE_SCORING = RulesAndKomi(Rules("SIMPLE", "AREA", "ALL", suicide=False, friendly_pass_ok=True), 7.5)
_AGA = Rules("SITUATIONAL", "AREA", "NONE", suicide=False, white_handicap_bonus="N-1", friendly_pass_ok=True)
_NEW_ZEALAND = RulesAndKomi(Rules("SITUATIONAL", "AREA", "NONE", suicide=True, friendly_pass_ok=True), 7.0)

# Words are joined by nothing, a space, a dash or an underscore; see `_plain_name`.
_NAMED: Final[dict[str, RulesAndKomi]] = {
    "japanese": _JAPANESE,
    "korean": _JAPANESE,
    "chinese": RulesAndKomi(
        Rules("SIMPLE", "AREA", "NONE", suicide=False, white_handicap_bonus="N", friendly_pass_ok=True), 7.5
    ),
    "chinese-ogs": _CHINESE_ONLINE,
    "chinese-kgs": _CHINESE_ONLINE,
    "ancient-area": _STONE_SCORING,
    "stone-scoring": _STONE_SCORING,
    "ancient-territory": RulesAndKomi(Rules("SIMPLE", "TERRITORY", "ALL", suicide=False), 6.5),
    "aga-button": RulesAndKomi(msgspec.structs.replace(_AGA, has_button=True), 7.0),
    "aga": RulesAndKomi(_AGA, 7.5),
    "bga": RulesAndKomi(_AGA, 7.5),
    "french": RulesAndKomi(_AGA, 7.5),
    "nz": _NEW_ZEALAND,
    "new-zealand": _NEW_ZEALAND,
    "tromp-taylor": RulesAndKomi(Rules(), 7.5),
    "goe": RulesAndKomi(Rules(friendly_pass_ok=True), 7.5),
    "ing": RulesAndKomi(Rules(friendly_pass_ok=True), 7.5),
}
_SPELLINGS: Final[dict[str, RulesAndKomi]] = {
    name.replace("-", joint): entry
    for name, entry in _NAMED.items()
    # KataGo takes no space in "chinese ogs".
    for joint in (("", "-", "_") if name.startswith("chinese-") else ("", "-", "_", " "))
}


def parse_rules(given: str | dict[str, Any]) -> Rules:
    """A rule set by name (any case), as JSON text or object, or in KataGo's short form (`koSIMPLEscoreAREAtaxNONE`).

    Keys that are left out are Tromp-Taylor's; the tax follows the scoring. A komi is refused.

    Raises:
        RulesError: `str()` is KataGo's text, such as "Could not parse rules: foo".
    """
    return _parse(given, komi_allowed=False).rules


def parse_rules_and_komi(given: str | dict[str, Any]) -> RulesAndKomi:
    """As `parse_rules`, for places where KataGo lets rules hold a komi; the rules' default komi where they do not.

    Raises:
        RulesError: as `parse_rules`; or the komi is not a half-integer within `MAX_KOMI`.
    """
    return _parse(given, komi_allowed=True)


def update_rule(rules: Rules, key: str, value: str) -> Rules:
    """`rules` with one rule changed, as GTP's kata-set-rule does: values in any case, the key exact.

    Raises:
        RulesError: `str()` is KataGo's text.
    """
    key = key.strip()
    value = value.strip().upper()
    field = _FIELDS.get(key)
    if field is None:
        raise RulesError(f"Unknown rules option: {key}")
    if field in _FLAGS:
        if value not in ("TRUE", "FALSE"):
            raise RulesError(f"could not parse bool: {value}")
        return msgspec.structs.replace(rules, **{field: value == "TRUE"})
    return msgspec.structs.replace(rules, **{field: _choice(field, value)})


def rules_to_dict(rules: Rules) -> dict[str, str | bool]:
    """KataGo's keys and values, keys in KataGo's order."""
    return {
        "friendlyPassOk": rules.friendly_pass_ok,
        "hasButton": rules.has_button,
        "ko": rules.ko,
        "scoring": rules.scoring,
        "suicide": rules.suicide,
        "tax": rules.tax,
        "whiteHandicapBonus": rules.white_handicap_bonus,
    }


def rules_to_json(rules: Rules) -> str:
    """What GTP's kata-get-rules prints."""
    return json.dumps(rules_to_dict(rules), separators=(",", ":"))


def rules_to_text(rules: Rules, komi: float) -> str:
    """KataGo's short form, which `parse_rules_and_komi` reads too: koSIMPLEscoreAREAtaxNONEsui0komi7.5."""
    parts = [f"ko{rules.ko}score{rules.scoring}tax{rules.tax}sui{rules.suicide:d}"]
    parts += ["button1"] if rules.has_button else []
    parts += [f"whb{rules.white_handicap_bonus}"] if rules.white_handicap_bonus != "0" else []
    parts += ["fpok1"] if rules.friendly_pass_ok else []
    return "".join(parts) + f"komi{komi:g}"


def is_supported_by_networks(rules: Rules) -> bool:
    """Whether networks of input version 7 know these rules: no spight ko, a button only with area scoring."""
    return rules.ko != "SPIGHT" and not (rules.has_button and rules.scoring == "TERRITORY")


# ---------------------------------------------------------------- reading

_FIELDS: Final = {
    "ko": "ko",
    "score": "scoring",
    "scoring": "scoring",
    "tax": "tax",
    "suicide": "suicide",
    "hasButton": "has_button",
    "whiteHandicapBonus": "white_handicap_bonus",
    "friendlyPassOk": "friendly_pass_ok",
}
_FLAGS: Final = ("suicide", "has_button", "friendly_pass_ok")


class _Choice(NamedTuple):
    values: tuple[str, ...]
    katago_function: str
    katago_name: str


_CHOICES: Final = {
    "ko": _Choice(KO_RULES, "parseKoRule", "ko"),
    "scoring": _Choice(SCORING_RULES, "parseScoringRule", "scoring"),
    "tax": _Choice(TAX_RULES, "parseTaxRule", "tax"),
    "white_handicap_bonus": _Choice(HANDICAP_BONUSES, "parseWhiteHandicapBonusRule", "whiteHandicapBonus"),
}


def _choice(field: str, value: str) -> str:
    choice = _CHOICES[field]
    if value not in choice.values:
        raise RulesError(f"Rules::{choice.katago_function}: Invalid {choice.katago_name} rule: {value}")
    return value


def _parse(given: str | dict[str, Any], *, komi_allowed: bool) -> RulesAndKomi:
    if isinstance(given, dict):
        text = json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return _parse_object(given, text, komi_allowed)
    named = _SPELLINGS.get(given.strip().lower())
    if named is not None:
        return named
    if given.startswith("{"):
        try:
            decoded = msgspec.json.decode(given, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise RulesError(f"Could not parse rules: {given}") from error
        return _parse_object(decoded, given, komi_allowed)
    return _parse_short_form(given, komi_allowed)


def _finish(changes: dict[str, Any], komi: float | None) -> RulesAndKomi:
    """Tromp-Taylor with `changes`, and what KataGo infers for a tax or komi that was not given."""
    if "tax" not in changes:
        changes["tax"] = "SEKI" if changes.get("scoring") == "TERRITORY" else "NONE"
    rules = Rules(**changes)
    if komi is None:
        komi = 6.5 if rules.scoring == "TERRITORY" else 7.0 if rules.has_button else 7.5
    return RulesAndKomi(rules, komi)


def _parse_object(given: dict[str, Any], text: str, komi_allowed: bool) -> RulesAndKomi:
    unreadable = RulesError(f"Could not parse rules: {text}")
    changes: dict[str, Any] = {}
    komi = None
    for key in sorted(given):  # KataGo meets keys in this order, so the first error is the same one
        value = given[key]
        if key == "komi" and komi_allowed:
            if not isinstance(value, int | float):  # true is 1, to KataGo's reader of JSON as well
                raise unreadable
            if not abs(value) <= MAX_KOMI or value * 2 != int(value * 2):
                raise RulesError("Komi value is not a half-integer or is too extreme")
            komi = float(value)
            continue
        field = _FIELDS.get(key)
        if field is None:
            raise RulesError(f"Unknown rules option: {key}")
        if field in _FLAGS and isinstance(value, bool):
            changes[field] = value
        elif field not in _FLAGS and isinstance(value, str):
            changes[field] = _choice(field, value)
        else:
            raise unreadable
    return _finish(changes, komi)


_SHORT_FORM: Final = re.compile(
    r"""\s*(?:
        komi\s*(?P<komi>[-+.0-9]+) |
        ko\s*(?P<ko>SIMPLE|POSITIONAL|SITUATIONAL|SPIGHT) |
        (?:scoring|score)\s*(?P<scoring>AREA|TERRITORY) |
        tax\s*(?P<tax>NONE|SEKI|ALL) |
        sui\s*(?P<suicide>[01]) |
        button\s*(?P<has_button>[01]) |
        whb\s*(?P<white_handicap_bonus>0|N-1|N) |
        fpok\s*(?P<friendly_pass_ok>[01])
    )\s*""",
    re.VERBOSE,
)


def _parse_short_form(text: str, komi_allowed: bool) -> RulesAndKomi:
    unreadable = RulesError(f"Could not parse rules: {text}")
    if not text.strip():
        raise unreadable
    changes: dict[str, Any] = {}
    komi = None
    at = 0
    while at < len(text):
        part = _SHORT_FORM.match(text, at)
        if part is None or part.lastgroup is None:
            raise unreadable
        field, value = part.lastgroup, part[part.lastgroup]
        if field == "komi":
            try:
                komi = float(value)
            except ValueError as error:
                raise unreadable from error
            if not komi_allowed or not abs(komi) <= 1e5:
                raise unreadable
        else:
            changes[field] = value == "1" if field in _FLAGS else value
        at = part.end()
    return _finish(changes, komi)
