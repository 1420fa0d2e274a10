"""What the keys of a KataGo configuration do: for a protocol object, for the engine's process, for nobody."""

from __future__ import annotations

import msgspec
import pytest

from agent.engine.points import BLACK, WHITE
from agent.engine.search_params import NO_FILE, SEARCH_PARAMS
from agent.errors import SettingRefused
from agent.service.clock import UNLIMITED, move_time_s
from agent.service.config_file import Setting, parse_config
from agent.service.config_keys import Configuration, EngineWishes, configure
from agent.service.options import MAX_VISITS, OWN_KEYS, ServiceOptions

# The settings in force in KataGo's gtp_example.cfg and analysis_example.cfg.
GTP_EXAMPLE = """
logDir = gtp_logs
logAllGTPCommunication = true
logSearchInfo = true
logSearchInfoForChosenMove = false
logToStderr = false
rules = tromp-taylor
allowResignation = true
resignThreshold = -0.90
resignConsecTurns = 3
maxVisits = 500
ponderingEnabled = false
maxTimePondering = 60.0
lagBuffer = 1.0
numSearchThreads = 6
searchFactorAfterOnePass = 0.50
searchFactorAfterTwoPass = 0.25
searchFactorWhenWinning = 0.40
searchFactorWhenWinningThreshold = 0.95
"""
ANALYSIS_EXAMPLE = """
logDir = analysis_logs  # one for each run
reportAnalysisWinratesAs = BLACK
maxVisits = 500
numAnalysisThreads = 2
numSearchThreadsPerAnalysisThread = 16
nnMaxBatchSize = 64
nnCacheSizePowerOfTwo = 23
nnMutexPoolSizePowerOfTwo = 17
nnRandomize = true
"""


def of(protocol: str, text: str, *overrides: str) -> Configuration:
    return configure(protocol, [parse_config(text, "x.cfg", {}.__getitem__)], overrides, name="x.cfg")


def test_katagos_example_for_gtp() -> None:
    configuration = of("gtp", GTP_EXAMPLE)
    options = configuration.options(ServiceOptions(max_visits=7, max_time_s=3.0))
    assert (options.max_visits, options.max_time_s) == (500, None)
    assert (options.rules.ko, options.rules.suicide, options.search_factor_when_winning) == ("POSITIONAL", True, 0.4)
    assert configuration.wishes() == EngineWishes(in_flight=6)
    left = configuration.leftovers()
    assert (left.unknown, left.without_effect) == ((), ("logSearchInfo", "logSearchInfoForChosenMove"))


def test_playouts_that_are_limited_are_had_whatever_the_profile_says() -> None:
    options = of("gtp", "maxPlayouts = 300").options(ServiceOptions(max_visits=60, max_time_s=30.0))
    assert (options.max_visits, options.max_playouts, options.max_time_s) == (MAX_VISITS, 300, None)


def test_katagos_example_for_analysis() -> None:
    configuration = of("analysis", ANALYSIS_EXAMPLE)
    options = configuration.options(ServiceOptions())
    assert (options.perspective, options.positions_at_once) == (BLACK, 2)
    wishes = configuration.wishes()
    assert wishes == EngineWishes(in_flight=32, positions=2, max_batch=64, cache_positions=1 << 23)
    assert configuration.leftovers().without_effect == ("nnMutexPoolSizePowerOfTwo",)


@pytest.mark.parametrize(
    ("text", "cores", "threads", "batch"),
    [
        # As many positions are out as KataGo would have, on no more threads than there are cores.
        ("numSearchThreads = 6", 4, 4, 1),
        ("numSearchThreads = 16", 4, 4, 4),
        ("numSearchThreads = 16\nnnMaxBatchSize = 2", 4, 4, 2),
        ("numSearchThreads = 1", 4, 1, 1),
        ("nnMaxBatchSize = 2", 4, None, 2),
        ("", 4, None, 8),
    ],
)
def test_threads_and_batch(text: str, cores: int, threads: int | None, batch: int) -> None:
    wishes = of("gtp", text).wishes()
    assert wishes.threads(cores) == threads
    assert wishes.batch(threads or 2, planned=8) == batch


@pytest.mark.parametrize(
    ("power", "free_bytes", "kept"),
    [("10", 10**9, 1024), ("23", 10**9, 125_000), ("23", 0, 20_000), ("-1", 10**9, 0), ("14", 0, 16384)],
)
def test_the_cache_is_as_large_as_asked_for_where_memory_is_free(power: str, free_bytes: int, kept: int) -> None:
    assert of("gtp", f"nnCacheSizePowerOfTwo = {power}").wishes().cache(20_000, free_bytes) == kept


def test_without_a_configuration_the_plan_stands() -> None:
    wishes = configure("gtp").wishes()
    assert (wishes.threads(4), wishes.batch(2, 8), wishes.cache(20_000, 10**9)) == (None, 8, 20_000)
    profile = ServiceOptions(max_visits=60, max_time_s=3.0)
    for overrides in ((), ("cpuctExploration=1.5",), ("resignThreshold=-0.8",)):
        options = configure("gtp", overrides=overrides).options(profile)
        assert (options.max_visits, options.max_time_s, options.clock) == (60, 3.0, UNLIMITED)
        assert (options.allow_resignation, options.lag_buffer_s, options.max_time_pondering_s) == (True, 1.0, 60.0)
    assert options.resign_threshold == -0.8


def test_where_a_file_is_silent_katago_decides() -> None:
    options = of("gtp", "resignThreshold = -0.8").options(ServiceOptions(max_visits=60, max_time_s=3.0))
    assert not options.allow_resignation and options.resign_threshold == -1.0
    assert (options.lag_buffer_s, options.max_time_pondering_s) == (0.0, 1e20)
    # Nothing limits a move, so that the clock does: six seconds for the first one.
    assert (options.max_visits, options.max_time_s) == (MAX_VISITS, None)
    assert move_time_s(options.clock, 361, 0, options.lag_buffer_s) == 6.0
    assert of("gtp", "allowResignation = true").options(ServiceOptions()).resign_threshold == -0.9


@pytest.mark.parametrize(
    ("protocol", "text", "limits"),
    [
        ("gtp", "maxTime = 8", (MAX_VISITS, 8.0)),
        ("gtp", "maxVisits = 20", (20, None)),
        ("analysis", "maxTime = 8", (MAX_VISITS, 8.0)),
        # A query that nothing limits would never be answered.
        ("analysis", "", (60, None)),
    ],
)
def test_a_limit_that_a_file_names_is_the_only_one(protocol: str, text: str, limits: tuple[int, float | None]) -> None:
    options = of(protocol, text).options(ServiceOptions(max_visits=60, max_time_s=None if protocol != "gtp" else 3.0))
    assert (options.max_visits, options.max_time_s) == limits
    assert options.clock == UNLIMITED


def test_keys_of_the_other_protocol_and_of_nobody_are_named() -> None:
    text = "warnUnusedFields = true\nnumAnalysisThreads = 2\nfooBar = 1\nopenclUseFP16 = false\nhomeDataDir = /x"
    left = of("gtp", text).leftovers()
    assert left.unknown == ("fooBar", "numAnalysisThreads", "warnUnusedFields")
    assert left.without_effect == ("homeDataDir", "openclUseFP16")
    assert of("analysis", "rules = aga\nresignThreshold = -0.5\nkoRule = SIMPLE").leftovers().unknown == (
        *("koRule", "resignThreshold", "rules"),
    )


def test_overrides_go_over_files_and_may_take_settings_away() -> None:
    configuration = of("gtp", "maxVisits = 5\nwideRootNoise = 0.5", "maxVisits=6,wideRootNoise=", "maxVisits=7")
    options = configuration.options(ServiceOptions())
    assert options.max_visits == 7 and "wideRootNoise" not in options.search


def test_rules_one_by_one() -> None:
    text = "koRule = SIMPLE\nscoringRule = TERRITORY\nmultiStoneSuicideLegal = false\nwhiteHandicapBonus = N-1"
    rules = of("gtp", text).options(ServiceOptions()).rules
    assert (rules.ko, rules.scoring, rules.tax) == ("SIMPLE", "TERRITORY", "SEKI")
    assert (rules.suicide, rules.white_handicap_bonus) == (False, "N-1")
    assert of("gtp", text, "rules=aga").options(ServiceOptions()).rules.ko == "SITUATIONAL"
    assert of("gtp", "rules = aga", "koRule=POSITIONAL").options(ServiceOptions()).rules.ko == "POSITIONAL"


def test_advantage_of_one_player() -> None:
    options = of("gtp", "playoutDoublingAdvantage = 1\nplayoutDoublingAdvantagePla = WHITE").options(ServiceOptions())
    assert (options.advantage_player, options.search["playoutDoublingAdvantage"]) == (WHITE, 1.0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\nmaxVisits = x", "Could not parse 'x' as int64_t for key 'maxVisits' in config file x.cfg, line 2"),
        ("numSearchThreads = 0", "Key 'numSearchThreads' must be in the range 1 to 4096 in config file x.cfg, line 1"),
        ("nnMaxBatchSize = 1.5", "Could not parse '1.5' as int for key 'nnMaxBatchSize' in config file x.cfg, line 1"),
        ("cpuctExploration = 11", "Key 'cpuctExploration' must be in the range 0 to 10 in config file x.cfg, line 1"),
        ("koRule = x", "rules: Rules::parseKoRule: Invalid ko rule: x"),
        ("hasButton = 1", "Could not parse '1' as bool for key 'hasButton' in config file x.cfg, line 1"),
        ("rules = aga\nkoRule = SIMPLE", "Cannot both specify 'rules' and individual rules like koRule"),
        (
            "numSearchThreads = 1\nnumSearchThreadsPerAnalysisThread = 1",
            "Cannot specify both numSearchThreadsPerAnalysisThread and numSearchThreads in the same config",
        ),
    ],
)
def test_wrong_settings_are_refused_in_katagos_words_with_the_line(text: str, error: str) -> None:
    with pytest.raises(SettingRefused) as caught:
        of("gtp", text).options(ServiceOptions())
    assert str(caught.value) == error


def test_errors_name_the_command_line_where_a_setting_came_from_it() -> None:
    with pytest.raises(SettingRefused, match=r"in config file x\.cfg and/or command-line and query overrides$"):
        of("gtp", "maxVisits = 5", "maxVisits=x").options(ServiceOptions())
    with pytest.raises(SettingRefused, match=f"{NO_FILE}$"):
        configure("gtp", overrides=["maxVisits=x"]).options(ServiceOptions())
    # As KataGo does, a query's is added once more.
    assert of("gtp", "", "maxVisits=5").options(ServiceOptions()).config_name.count("and/or") == 2


def test_no_key_that_takes_effect_is_named_as_having_none() -> None:
    both = [of(protocol, "") for protocol in ("gtp", "analysis")]
    for name in (*OWN_KEYS, *SEARCH_PARAMS):
        for empty in both:
            configuration = msgspec.structs.replace(empty, settings={name: Setting("1")})
            assert name not in configuration.leftovers().without_effect
