"""The shipped catalogue and how it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.model.catalogue import Catalogue, load_catalogue
from agent.settings import data_folder

ENTRY = """
networks:
  - name: one-b1c1
    aliases: [one]
    size_bytes: 10
    sha256: {sha256}
    version: 8
    blocks: [ordinary]
    licence: {{ name: CC0-1.0, source: "https://example.org/", redistribution: true }}
    sources: [{source}]
""".replace("{sha256}", "a" * 64)


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load_catalogue(data_folder("profiles") / "networks.yaml")


@pytest.mark.parametrize("alias", ["b6c96", "b10c128", "b15c192", "b18c384nbt", "b10c384h6nbttflrs"])
def test_shipped_networks(shipped: Catalogue, alias: str) -> None:
    entry = shipped.find(alias)
    assert entry.sources, "a network that nobody can fetch"
    assert all(source.url is None or source.url.startswith("https://") for source in entry.sources)
    assert entry.licence.source.startswith("https://")
    assert entry.licence.redistribution == (entry.licence.name != "unknown")


def test_every_shipped_network_can_be_converted(shipped: Catalogue) -> None:
    assert not [entry.alias for entry in shipped if entry.unconvertible_blocks]


def test_tested_networks_are_the_shipped_ones(shipped: Catalogue) -> None:
    from conftest import PACKAGED

    for alias, packaged in PACKAGED.items():
        entry = shipped.find(alias)
        assert entry.sha256 == packaged.sha256
        wheels = [(source.wheel.requirement, source.wheel.member) for source in entry.sources if source.wheel]
        assert wheels == [(packaged.requirement, packaged.member)]


@pytest.mark.parametrize(
    "name",
    [
        "b15c192",
        "g170e-b15c192-s1672170752-d466197061",
        "g170e-b15c192-s1672170752-d466197061.bin.gz",
        "g170e-b15",
        "b15",
    ],
)
def test_found_by(shipped: Catalogue, name: str) -> None:
    assert shipped.find(name).name == "g170e-b15c192-s1672170752-d466197061"


@pytest.mark.parametrize(
    ("name", "says", "fix"),
    [
        ("b1", "could be several networks", "b10c128, b15c192, b18c384nbt"),
        ("b15c193", "is no network of the catalogue", "b15c192"),
        ("", "is no network of the catalogue", "b10c128, b15c192"),
        ("../../etc/passwd", "is no network of the catalogue", "path to a .bin.gz"),
    ],
)
def test_not_found(shipped: Catalogue, name: str, says: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        shipped.find(name)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("change", "says", "fix"),
    [
        (("size_bytes", "size_byte"), "unknown key 'networks.0.size_byte'", "networks.0.size_bytes"),
        (("redistribution: true", "redistributable: true"), "redistributable", "redistribution"),
        (("url:", "uri:"), "uri", "url"),
        (("url: https", "url: ftp"), "url", ""),
        (("size_bytes: 10", "size_bytes: 0"), "size_bytes", ""),
        (("one-b1c1", "../one"), "name", ""),
        (("aaaa", "AAAA"), "sha256", ""),
        (("url: https://example.org/one", "folder: a, url: https://example.org/one"), "one thing", "exactly one"),
        (("{ url: https://example.org/one }", "{}"), "one thing", "exactly one"),
        (("aliases: [one]", "aliases: [one-b1c1, one]"), "", ""),
        (("    version: 8\n", ""), "version", ""),
    ],
)
def test_strict(tmp_path: Path, change: tuple[str, str], says: str, fix: str) -> None:
    path = tmp_path / "networks.yaml"
    good = ENTRY.format(source="{ url: https://example.org/one }")
    assert change[0] in good
    path.write_text(good.replace(*change))
    if not says:
        load_catalogue(path)
        return
    with pytest.raises(ConfigError) as caught:
        load_catalogue(path)
    assert says in str(caught.value)
    assert fix in caught.value.fix


def test_two_networks_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "networks.yaml"
    good = ENTRY.format(source="")
    path.write_text(good + good.replace("networks:\n", "").replace("one-b1c1", "two-b1c1"))
    with pytest.raises(ConfigError, match="two networks are called 'one'"):
        load_catalogue(path)
