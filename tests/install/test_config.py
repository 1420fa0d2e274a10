"""The file that `agent install` leaves offers every key, and with all of them uncommented it serves what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import yaml

from agent.install.config import TEMPLATE
from agent.settings import Settings, load_settings
from agent.strict_yaml import load_yaml

# A key and its value, or its block; prose begins otherwise.
_KEY = re.compile(r"^# (?= *[a-z_]+:( |$))", re.MULTILINE)


def uncommented(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(_KEY.sub("", TEMPLATE))
    return path


def offered(values: dict[str, object], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield above + key
        if isinstance(value, dict):
            yield from offered(value, f"{above}{key}.")


def known(kind: type[msgspec.Struct], above: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield above + field.name
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                yield from known(inner, f"{above}{field.name}.")


def test_every_key_is_offered_once_and_none_that_is_not_known(tmp_path: Path) -> None:
    keys = list(offered(yaml.safe_load(uncommented(tmp_path).read_text())))
    assert "mqtt.tls.insecure" in keys and "access.tls.client_ca" in keys
    # In the words above its block, for it stands in the place of a path.
    assert set(known(Settings)) - set(keys) == {"engine.backend"} and "`backend: native`" in TEMPLATE
    assert len(keys) == len(set(keys)) and set(keys) < set(known(Settings))


def test_all_of_it_uncommented_is_a_configuration_that_serves_what_it_names(tmp_path: Path) -> None:
    settings = load_settings(uncommented(tmp_path))
    assert settings.engine.wants_native and settings.engine.fallback
    assert (settings.human_profile, settings.cache_positions) == ("rank_5k", 50000)
    assert settings.mqtt.host == "broker.example.org" and settings.access.is_guarded


def test_as_it_is_written_it_asks_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(TEMPLATE)
    assert load_yaml(path, Settings) == Settings()
