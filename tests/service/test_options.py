"""Settings in KataGo's spelling."""

from __future__ import annotations

import pytest

from agent.engine.points import BLACK
from agent.errors import SettingRefused
from agent.service.options import ServiceOptions, read_settings, split_overrides


def test_settings_of_both_kinds_and_unknown_ones() -> None:
    given = split_overrides(
        "maxVisits=7, preventCleanupPhase=false,cpuctExploration=1.5,fooBar=3,reportAnalysisWinratesAs=BLACK"
    )
    options, unknown = read_settings(ServiceOptions(), given)
    assert (options.max_visits, options.prevent_encore, options.perspective) == (7, False, BLACK)
    assert options.search == {"cpuctExploration": 1.5}
    assert unknown == ["fooBar"]


def test_settings_add_up() -> None:
    options, _ = read_settings(ServiceOptions(max_visits=3), {"wideRootNoise": "0.1"})
    options, _ = read_settings(options, {"cpuctExploration": "2", "allowResignation": "false"})
    assert options.max_visits == 3 and not options.allow_resignation
    assert options.search == {"wideRootNoise": 0.1, "cpuctExploration": 2.0}


def test_rules_may_be_set() -> None:
    options, _ = read_settings(ServiceOptions(), {"rules": "japanese"})
    assert options.rules.scoring == "TERRITORY"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("maxVisits", "x", "Could not parse 'x' as int64_t for key 'maxVisits' in config file or overrides"),
        ("maxVisits", "0", "Key 'maxVisits' must be in the range 1 to 1.1259e+15 in config file or overrides"),
        ("maxVisits", "9" * 5000, "Key 'maxVisits' must be in the range 1 to 1.1259e+15 in config file or overrides"),
        ("maxTime", "nan", "Could not parse 'nan' as double for key 'maxTime' in config file or overrides"),
        ("allowResignation", "x", "Could not parse 'x' as bool for key 'allowResignation' in config file or overrides"),
        ("resignThreshold", "1", "Key 'resignThreshold' must be in the range -1 to 0 in config file or overrides"),
        ("rules", "foo", "rules: Could not parse rules: foo"),
        ("reportAnalysisWinratesAs", "GREEN", "Could not parse config value for reportAnalysisWinratesAs: GREEN"),
    ],
)
def test_bad_values(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingRefused) as caught:
        read_settings(ServiceOptions(), {name: value})
    assert str(caught.value) == text
    assert caught.value.fix


@pytest.mark.parametrize("text", ["foo", "=3", "a=1,b"])
def test_bad_pairs(text: str) -> None:
    with pytest.raises(SettingRefused):
        split_overrides(text)


def test_no_overrides() -> None:
    assert split_overrides("") == {} and split_overrides(" , ") == {}
