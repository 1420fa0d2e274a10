"""Settings in KataGo's spelling."""

from __future__ import annotations

import pytest

from agent.engine.points import BLACK
from agent.engine.search_params import NO_FILE
from agent.errors import SettingRefused
from agent.service.options import MAX_VISITS, ServiceOptions, read_settings, split_overrides


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
        ("maxVisits", "x", "Could not parse 'x' as int64_t for key 'maxVisits'"),
        ("maxVisits", "0", "Key 'maxVisits' must be in the range 1 to 1125899906842624"),
        ("maxVisits", "9" * 16, "Key 'maxVisits' must be in the range 1 to 1125899906842624"),
        ("maxVisits", "9" * 5000, f"Could not parse '{'9' * 5000}' as int64_t for key 'maxVisits'"),
        ("resignConsecTurns", "1.5", "Could not parse '1.5' as int for key 'resignConsecTurns'"),
        ("conservativePass", "yes", "Could not parse 'yes' as bool for key 'conservativePass'"),
        ("wideRootNoise", "1_0", "Could not parse '1_0' as double for key 'wideRootNoise'"),
        ("nnPolicyTemperature", "x", "Could not parse 'x' as float for key 'nnPolicyTemperature'"),
        ("maxTime", "nan", "Could not parse 'nan' as double for key 'maxTime'"),
        ("allowResignation", "x", "Could not parse 'x' as bool for key 'allowResignation'"),
        ("resignThreshold", "1", "Key 'resignThreshold' must be in the range -1 to 0"),
        ("rules", "foo", "rules: Could not parse rules: foo"),
        ("reportAnalysisWinratesAs", "GREEN", "Could not parse config value for reportAnalysisWinratesAs: GREEN"),
    ],
)
def test_bad_values(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingRefused) as caught:
        read_settings(ServiceOptions(), {name: value})
    assert str(caught.value).removesuffix(f" in config file {NO_FILE}") == text
    assert caught.value.fix


@pytest.mark.parametrize("text", ["foo", "=3", "a=1,b"])
def test_bad_pairs(text: str) -> None:
    with pytest.raises(SettingRefused):
        split_overrides(text)


def test_no_overrides() -> None:
    assert split_overrides("") == {} and split_overrides(" , ") == {}


def test_the_first_wrong_value_in_katagos_order_is_told() -> None:
    with pytest.raises(SettingRefused, match="maxTime"):
        read_settings(ServiceOptions(), {"allowResignation": "x", "wideRootNoise": "x", "maxTime": "x"})


def test_a_setting_without_a_value_goes_back_to_its_default() -> None:
    options, _ = read_settings(ServiceOptions(), {"wideRootNoise": "0.5", "reportAnalysisWinratesAs": "W"})
    options, unknown = read_settings(
        options, {"wideRootNoise": "", "reportAnalysisWinratesAs": "", "cpuctExploration": ""}
    )
    assert (options.search, options.perspective, options.configured) == ({}, None, frozenset()) and not unknown


PROFILE = ServiceOptions(max_visits=60, max_time_s=30.0)


@pytest.mark.parametrize(
    ("steps", "limits"),
    [
        # Visits, playouts and seconds that hold at the end.
        ([{}], (60, None, 30.0)),
        ([{"maxVisits": "5000"}], (5000, None, None)),
        ([{"maxPlayouts": "300"}], (MAX_VISITS, 300, None)),
        ([{"maxTime": "8"}], (60, None, 8.0)),
        ([{"maxTime": "8"}, {"maxVisits": "5000"}], (5000, None, 8.0)),
        ([{"maxVisits": "5000"}, {"maxPlayouts": "300"}], (5000, 300, None)),
        ([{"maxPlayouts": "300"}, {"cpuctExploration": "1"}], (MAX_VISITS, 300, None)),
        ([{"maxVisits": "5000"}, {"maxVisits": ""}], (60, None, 30.0)),
        ([{"maxVisits": "5000"}, {"maxTime": "8"}, {"maxTime": ""}], (5000, None, None)),
        ([{"maxVisits": "50", "maxPlayouts": "300"}, {"maxVisits": ""}, {"maxPlayouts": ""}], (60, None, 30.0)),
    ],
)
def test_who_limits_visits_or_playouts_gets_them(
    steps: list[dict[str, str]], limits: tuple[int, int | None, float | None]
) -> None:
    options = PROFILE
    for given in steps:
        options, _ = read_settings(options, given)
    assert (options.max_visits, options.max_playouts, options.max_time_s) == limits


def test_errors_name_the_configuration_that_a_setting_stands_in() -> None:
    with pytest.raises(SettingRefused, match=r"'maxVisits' in config file x\.cfg, line 3"):
        read_settings(ServiceOptions(), {"maxVisits": "x"}, {"maxVisits": "x.cfg, line 3"})
