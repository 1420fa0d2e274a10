"""KataGo's own command line: what a client that was given our path instead of a katago's sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from fakes.network_writer import NetworkWriter

from agent.__main__ import main
from agent.cli.katago import imitating
from agent.cli.katago_benchmark import comparison, row, thread_counts
from agent.engine.bench_threads import ThreadRate
from agent.model.pull import import_file
from agent.model.store import Store
from agent.service.config_keys import configure
from agent.settings import Settings

RUN = [sys.executable, "-c", "from agent.__main__ import katago; katago()"]
CONFIG = """# As a GUI writes it
logDir = logs
logAllGTPCommunication = true
logAllRequests = true
maxVisits = 5
numSearchThreads = 2
reportAnalysisWinratesAs = BLACK
homeDataDir = somewhere
fooBar = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a client starts us: a configuration of KataGo's beside one of ours, which needs no network."""
    (tmp_path / "katago-agent").mkdir()
    own = f"state_dir: {tmp_path / 'state'}\nengine: {{backend: uniform}}\n"
    (tmp_path / "katago-agent" / "agent.yaml").write_text(own)
    (tmp_path / "x.cfg").write_text(CONFIG)
    return tmp_path


def run(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [*RUN, *arguments],
        cwd=folder,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": root},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_gtp(folder: Path) -> None:
    asked = "1 name\n2 genmove b\n3 version\n4 quit\n"
    overrides = ("-override-config", "maxVisits=3", "-override-version", "1.16.4")
    done = run(folder, "gtp", "-config", "x.cfg", *overrides, given=asked)
    assert done.returncode == 0, done.stderr
    name, move, version, end = done.stdout.split("\n\n")[:4]
    assert (name, move.startswith("=2 "), version, end.strip()) == ("=1 KataGo", True, "=3 1.16.4", "=4")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("KataGo v1.")
    assert "WARNING: Unused key 'fooBar' in x.cfg and/or command-line and query overrides" in lines
    assert "Without effect here: homeDataDir" in lines
    assert lines.index("GTP ready, beginning main protocol loop") > lines.index("Model name: uniform")
    (log,) = (folder / "logs").iterdir()
    assert "Request: 2 genmove b" in log.read_text() and "Response: =1 KataGo" in log.read_text()


def test_analysis(folder: Path) -> None:
    query = {"id": "q", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": [["b", "C3"]]}
    done = run(folder, "analysis", "-config", "x.cfg", "-analysis-threads", "2", given=json.dumps(query) + "\n")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert (reply["id"], reply["rootInfo"]["visits"], reply["rootInfo"]["currentPlayer"]) == ("q", 5, "W")
    assert "Started, ready to begin handling requests" in done.stderr.splitlines()


def test_benchmark(folder: Path) -> None:
    done = run(folder, "benchmark", "-t", "1,2", "-v", "4", "-n", "1")
    assert done.returncode == 0, done.stderr
    assert "numSearchThreads =  1: 1 / 1 positions, visits/s = " in done.stdout
    assert done.stdout.count("(recommended)") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["katago", "version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("KataGo v1.17.2")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-config", "missing.cfg"], "Could not open file missing.cfg - does not exist or invalid permissions?"),
        (["-override-config", "a"], "Could not parse kv pair, could not find '=' in:a"),
        (["-override-config", "maxVisits=x"], "Could not parse 'x' as int64_t for key 'maxVisits'"),
        (
            ["-override-config", "logFile=a,logDir=b"],
            "Cannot specify more than one of logFile and logDir and logDirDated",
        ),
        (["-analysis-threads", "2", "-override-config", "numAnalysisThreads=3"], "it is redundant and disallowed"),
    ],
)
def test_what_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["katago", "analysis", *arguments])
    assert told in str(ended.value.code) and "fix:" in str(ended.value.code)


def test_whom_a_human_style_network_imitates_may_stand_in_the_configuration(tmp_path: Path) -> None:
    human = tmp_path / "human.bin.gz"
    human.write_bytes((Path(__file__).parents[1] / "golden" / "human_network.gz").read_bytes())
    other = NetworkWriter(8, ["ordinary"]).write(tmp_path / "other.bin.gz")
    configuration = configure("gtp", overrides=["humanSLProfile=rank_5k,maxVisits=5"])
    settings, rest = imitating(Settings(network=str(human)), configuration)
    assert (settings.human_profile, set(rest.settings)) == ("rank_5k", {"maxVisits"})
    for network in (str(other), "b15c192", None):
        assert imitating(Settings(network=network), configuration) == (Settings(network=network), configuration)
        assert configuration.leftovers().without_effect == ("humanSLProfile",)


def test_whom_it_imitates_is_also_heard_for_what_the_store_keeps_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    human = tmp_path / "human.bin.gz"
    human.write_bytes((Path(__file__).parents[1] / "golden" / "human_network.gz").read_bytes())
    import_file(human, store)
    import_file(NetworkWriter(8, ["ordinary"]).write(tmp_path / "other.bin.gz"), store)
    human.unlink()  # as on a stick that was pulled out
    configuration = configure("gtp", overrides=["humanSLProfile=rank_5k"])

    def imitated(network: str) -> str:
        settings, rest = imitating(Settings(state_dir=store.root, network=network), configuration)
        assert bool(rest.settings) == (settings.human_profile == "")
        return settings.human_profile

    told = {network: imitated(network) for network in ("human", "human.bin.gz", str(human), "other", "b15c192", "none")}
    assert told == dict.fromkeys(("human", "human.bin.gz", str(human)), "rank_5k") | dict.fromkeys(
        ("other", "b15c192", "none"), ""
    )
    assert imitated(str(tmp_path / "absent.bin.gz")) == ""


# ---------------------------------------------------------------- the benchmark's lines


def test_rows_of_the_benchmark() -> None:
    rate = ThreadRate(threads=4, positions=10, visits=800, evaluations=700, batches=350, seconds=11.66)
    assert row(rate, 10) == (
        "numSearchThreads =  4: 10 / 10 positions, visits/s = 68.61 nnEvals/s = 60.03 nnBatches/s = 30.02"
        " avgBatchSize = 2.00 (11.7 secs)"
    )


def test_the_fewest_threads_of_those_that_are_fastest_are_recommended() -> None:
    rates = [ThreadRate(threads, 1, visits, 1, 1, 1.0) for threads, visits in ((1, 100), (2, 199), (4, 200))]
    lines = comparison(rates)
    assert lines[1:] == [
        "numSearchThreads =  1: (baseline)",
        "numSearchThreads =  2:  +248 Elo (recommended)",
        "numSearchThreads =  4:  +250 Elo",
    ]


def test_numbers_of_threads() -> None:
    assert thread_counts("", 2) == [1, 2]
    assert thread_counts("", 10) == [1, 2, 3, 4, 6, 8, 10]
    assert thread_counts("4, 1,,4", 2) == [4, 1]
    for text in ("0", "x", "1,5000", "-1", ","):
        with pytest.raises(typer.BadParameter):
            thread_counts(text, 2)
