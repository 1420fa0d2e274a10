"""Profile files are read strictly, and every file that we ship is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.engine.backends import BACKENDS
from agent.errors import ConfigError
from agent.model.catalogue import load_catalogue
from agent.profile import load_profiles
from tests.boards.table import PROFILES

ONE = """\
profiles:
  - name: one
    about: Test
    priority: 1
    engine: builtin
    match: {}
    networks: [{ network: b10c128, precision: fp32, runtime: onnxruntime, memory_mb: 1 }]
    threads: { max: 4 }
    batch: 1
    visits: 10
    cache: { memory_percent: 1, min_positions: 1, max_positions: 2 }
    limits: { memory_percent: 50, max_time_s: 1 }
"""


def refused(tmp_path: Path, text: str, name: str = "test.yaml") -> ConfigError:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_profiles(tmp_path)
    return caught.value


def test_plain_file(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(ONE)
    (tmp_path / "networks.yaml").write_text("networks: []")
    assert [rule.name for rule in load_profiles(tmp_path)] == ["one"]


@pytest.mark.parametrize(
    ("right", "wrong", "nearest"),
    [
        ("visits:", "visit:", "visits"),
        ("match: {}", "match: { min_core: 4 }", "min_cores"),
        ("min_positions", "min_position", "min_positions"),
        ("precision:", "percision:", "precision"),
        ("profiles:", "profile:", "profiles"),
    ],
)
def test_unknown_key_names_file_and_nearest_key(tmp_path: Path, right: str, wrong: str, nearest: str) -> None:
    error = refused(tmp_path, ONE.replace(right, wrong))
    assert "test.yaml" in str(error)
    assert wrong.rstrip(":").split("{ ")[-1].split(":")[0] in str(error)
    assert error.fix.startswith("Did you mean")
    assert nearest in error.fix


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("batch: 1", "batch: 0"),
        ("batch: 1", "batch: many"),
        ("engine: builtin", "engine: cuda"),
        ("precision: fp32", "precision: int3"),
        ("memory_percent: 50", "memory_percent: 101"),
        ("networks: [{ network: b10c128, precision: fp32, runtime: onnxruntime, memory_mb: 1 }]", "networks: []"),
        ("name: one", "name: One Two"),
        ("    visits: 10\n", ""),
        ("match: {}", "match: { family: [toaster] }"),
    ],
)
def test_wrong_values(tmp_path: Path, right: str, wrong: str) -> None:
    assert "test.yaml" in str(refused(tmp_path, ONE.replace(right, wrong)))


@pytest.mark.parametrize("text", ["", "[]", "\x00", "profiles: [", "profiles: 5", "a: &a [*a]"])
def test_files_that_are_none(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no profile"):
        load_profiles(tmp_path)


def test_shared_name_and_priority(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE)
    assert "is in a.yaml already" in str(refused(tmp_path, ONE, "b.yaml"))
    other = ONE.replace("name: one", "name: two")
    assert "has priority 1, and so has 'one' of a.yaml" in str(refused(tmp_path, other, "b.yaml"))


def test_rules_that_contradict_themselves(tmp_path: Path) -> None:
    native = ONE.replace("engine: builtin", "engine: native")
    assert "has engine native but no cfg" in str(refused(tmp_path, native))
    assert "names x.cfg, which is not there" in str(
        refused(tmp_path, native.replace("batch:", "cfg: x.cfg\n    batch:"))
    )
    (tmp_path / "x.cfg").touch()
    with_cfg = native.replace("batch:", "cfg: x.cfg\n    batch:")
    assert "engine native cannot use runtime onnxruntime" in str(refused(tmp_path, with_cfg))
    assert "cannot use runtime katago" in str(refused(tmp_path, ONE.replace("onnxruntime", "katago")))
    assert "above cache.max_positions" in str(refused(tmp_path, ONE.replace("min_positions: 1", "min_positions: 9")))


# ---------------------------------------------------------------- the files that we ship


def test_networks_are_in_the_catalogue_and_can_be_converted() -> None:
    catalogue = load_catalogue(PROFILES / "networks.yaml")
    for rule in load_profiles(PROFILES):
        for candidate in rule.networks:
            entry = catalogue.find(candidate.network)
            assert entry.unconvertible_blocks == ()


def test_runtimes_are_in_the_table_of_backends() -> None:
    runtimes = {candidate.runtime for rule in load_profiles(PROFILES) for candidate in rule.networks}
    assert runtimes - {"katago"} <= set(BACKENDS)


def test_every_profile_has_a_second_network() -> None:
    """Where the first one's addresses cannot be reached, another is tried."""
    assert all(len(rule.networks) >= 2 for rule in load_profiles(PROFILES))


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.cfg")), ids=lambda path: path.name)
def test_cfg_files_are_in_katagos_form_and_used(path: Path) -> None:
    keys = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9]+) = (\S+)", line)
            assert match, line
            keys.append(match[1])
    assert len(keys) == len(set(keys))
    assert {"numSearchThreads", "maxVisits", "nnMaxBatchSize", "nnCacheSizePowerOfTwo", "rules"} <= set(keys)
    assert path.name in {rule.cfg for rule in load_profiles(PROFILES)}


def test_the_page_about_profiles_lists_them_all() -> None:
    page = (PROFILES.parent / "docs" / "profiles.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9-]+)`", "\n".join(line for line in page.splitlines() if line.startswith("| `"))))
    assert named - {"engine", "katago"} == {rule.name for rule in load_profiles(PROFILES)}
