"""Rule sets as KataGo reads, changes and writes them. Every expected text was printed by native KataGo 1.17."""

from __future__ import annotations

import pytest

from agent.engine.rules import (
    Rules,
    is_supported_by_networks,
    parse_rules,
    parse_rules_and_komi,
    rules_to_json,
    update_rule,
)
from agent.errors import RulesError

# name → ko, scoring, tax, suicide, button, handicap bonus, friendly pass, komi
NAMED: dict[str, tuple[str, str, str, bool, bool, str, bool, float]] = {
    "tromp-taylor": ("POSITIONAL", "AREA", "NONE", True, False, "0", False, 7.5),
    "chinese": ("SIMPLE", "AREA", "NONE", False, False, "N", True, 7.5),
    "chinese-ogs": ("POSITIONAL", "AREA", "NONE", False, False, "N", True, 7.5),
    "chinese_kgs": ("POSITIONAL", "AREA", "NONE", False, False, "N", True, 7.5),
    "japanese": ("SIMPLE", "TERRITORY", "SEKI", False, False, "0", False, 6.5),
    "Korean": ("SIMPLE", "TERRITORY", "SEKI", False, False, "0", False, 6.5),
    "stone scoring": ("SIMPLE", "AREA", "ALL", False, False, "0", True, 7.5),
    "ancientArea": ("SIMPLE", "AREA", "ALL", False, False, "0", True, 7.5),
    "ancient-territory": ("SIMPLE", "TERRITORY", "ALL", False, False, "0", False, 6.5),
    "AGA": ("SITUATIONAL", "AREA", "NONE", False, False, "N-1", True, 7.5),
    "bga": ("SITUATIONAL", "AREA", "NONE", False, False, "N-1", True, 7.5),
    "french": ("SITUATIONAL", "AREA", "NONE", False, False, "N-1", True, 7.5),
    "aga-button": ("SITUATIONAL", "AREA", "NONE", False, True, "N-1", True, 7.0),
    "new zealand": ("SITUATIONAL", "AREA", "NONE", True, False, "0", True, 7.0),
    " NZ ": ("SITUATIONAL", "AREA", "NONE", True, False, "0", True, 7.0),
    "ing": ("POSITIONAL", "AREA", "NONE", True, False, "0", True, 7.5),
    "goe": ("POSITIONAL", "AREA", "NONE", True, False, "0", True, 7.5),
}


@pytest.mark.parametrize("name", NAMED)
def test_named_rules(name: str) -> None:
    *values, komi = NAMED[name]
    rules = Rules(*values)  # type: ignore[arg-type]  # the table's columns are the fields in order
    assert parse_rules(name) == rules
    assert parse_rules_and_komi(name) == (rules, komi)


READABLE = {
    "{}": Rules(),
    '{"ko":"SIMPLE"}': Rules(ko="SIMPLE"),
    '{"ko":"SIMPLE","ko":"SPIGHT"}': Rules(ko="SPIGHT"),
    '{"scoring":"TERRITORY"}': Rules(scoring="TERRITORY", tax="SEKI"),
    '{"score":"TERRITORY","tax":"NONE"}': Rules(scoring="TERRITORY"),
    '{"hasButton":true,"suicide":false}': Rules(has_button=True, suicide=False),
    '{"whiteHandicapBonus":"N-1","friendlyPassOk":true}': Rules(white_handicap_bonus="N-1", friendly_pass_ok=True),
    "koSIMPLEscoreAREAtaxNONEsui0": Rules(ko="SIMPLE", suicide=False),
    "ko SIMPLE score TERRITORY button1 whbN-1 fpok1": Rules(
        "SIMPLE", "TERRITORY", "SEKI", has_button=True, white_handicap_bonus="N-1", friendly_pass_ok=True
    ),
}


@pytest.mark.parametrize("text", READABLE)
def test_rules_in_katagos_forms(text: str) -> None:
    assert parse_rules(text) == READABLE[text]


def test_an_object_reads_as_its_json_text() -> None:
    given = {"ko": "SIMPLE", "suicide": False}
    assert parse_rules(given) == parse_rules('{"suicide":false,"ko":"SIMPLE"}')


UNREADABLE = {
    "foo": "Could not parse rules: foo",
    "": "Could not parse rules: ",
    "chinese ogs": "Could not parse rules: chinese ogs",
    "kosimple": "Could not parse rules: kosimple",
    "koSIMPLEfoo": "Could not parse rules: koSIMPLEfoo",
    "komi5.5koSIMPLE": "Could not parse rules: komi5.5koSIMPLE",
    "[1]": "Could not parse rules: [1]",
    '{"ko":1}': 'Could not parse rules: {"ko":1}',
    '{"suicide":"true"}': 'Could not parse rules: {"suicide":"true"}',
    '{"tax":null}': 'Could not parse rules: {"tax":null}',
    '{"ko":"SIMPLE",}': 'Could not parse rules: {"ko":"SIMPLE",}',
    '{"ko":"SIMPLE"} x': 'Could not parse rules: {"ko":"SIMPLE"} x',
    "{bad": "Could not parse rules: {bad",
    '{"ko":"simple"}': "Rules::parseKoRule: Invalid ko rule: simple",
    '{"scoring":"FOO"}': "Rules::parseScoringRule: Invalid scoring rule: FOO",
    '{"tax":"FOO"}': "Rules::parseTaxRule: Invalid tax rule: FOO",
    '{"whiteHandicapBonus":"n"}': "Rules::parseWhiteHandicapBonusRule: Invalid whiteHandicapBonus rule: n",
    '{"foo":1}': "Unknown rules option: foo",
    '{"komi":5}': "Unknown rules option: komi",
    '{"ko":1,"a":1}': "Unknown rules option: a",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_rules_that_cannot_be_read(text: str) -> None:
    with pytest.raises(RulesError) as refused:
        parse_rules(text)
    assert str(refused.value) == UNREADABLE[text]


def test_deep_and_long_texts_are_refused_like_any_other() -> None:
    for text in ('{"a":' * 100_000, "{" + "x" * 1_000_000, "ko" * 1_000_000):
        with pytest.raises(RulesError, match="Could not parse rules"):
            parse_rules(text)


def test_a_komi_among_the_rules() -> None:
    assert parse_rules_and_komi('{"komi":5.5}') == (Rules(), 5.5)
    assert parse_rules_and_komi('{"komi":true}') == (Rules(), 1.0), "as KataGo takes it"
    assert parse_rules_and_komi("koSIMPLE komi-3") == (Rules(ko="SIMPLE"), -3.0)
    assert parse_rules_and_komi('{"scoring":"TERRITORY"}').komi == 6.5
    assert parse_rules_and_komi('{"hasButton":true}').komi == 7.0
    for komi in ("7.25", "401", "-1000", "1e300"):
        with pytest.raises(RulesError, match="Komi value is not a half-integer or is too extreme"):
            parse_rules_and_komi(f'{{"komi":{komi}}}')
    for text in ("komikoSIMPLE", "komi5.5.5", "komi", "komi1_0", "komi٣", '{"komi":"7"}'):
        with pytest.raises(RulesError, match="Could not parse rules"):
            parse_rules_and_komi(text)


def test_one_rule_is_changed() -> None:
    assert update_rule(Rules(), "ko", "simple") == Rules(ko="SIMPLE")
    assert update_rule(Rules(), "score", "Territory") == Rules(scoring="TERRITORY")
    assert update_rule(Rules(), "hasButton", "TRUE") == Rules(has_button=True)
    assert update_rule(Rules(), "whiteHandicapBonus", "n-1") == Rules(white_handicap_bonus="N-1")
    refusals = {
        ("ko", "foo"): "Rules::parseKoRule: Invalid ko rule: FOO",
        ("suicide", "1"): "could not parse bool: 1",
        ("hasbutton", "true"): "Unknown rules option: hasbutton",
        ("komi", "7"): "Unknown rules option: komi",
    }
    for (key, value), text in refusals.items():
        with pytest.raises(RulesError) as refused:
            update_rule(Rules(), key, value)
        assert str(refused.value) == text


def test_rules_are_written_as_kata_get_rules_prints_them() -> None:
    assert rules_to_json(parse_rules("japanese")) == (
        '{"friendlyPassOk":false,"hasButton":false,"ko":"SIMPLE","scoring":"TERRITORY","suicide":false,"tax":"SEKI",'
        '"whiteHandicapBonus":"0"}'
    )
    for name in NAMED:
        assert parse_rules(rules_to_json(parse_rules(name))) == parse_rules(name)


def test_rules_that_no_network_was_trained_on() -> None:
    assert all(is_supported_by_networks(parse_rules(name)) for name in NAMED)
    assert not is_supported_by_networks(Rules(ko="SPIGHT"))
    assert not is_supported_by_networks(Rules(scoring="TERRITORY", has_button=True))
