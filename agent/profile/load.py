"""Reads the profile files strictly. The only I/O of this part."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError
from agent.profile.schema import Rule, RuleFile
from agent.strict_yaml import load_yaml

# The catalogue lies beside the profiles and is the model part's to read.
CATALOGUE_FILE = "networks.yaml"


def load_profiles(folder: Path) -> tuple[Rule, ...]:
    """Every rule of the folder's YAML files, the most preferred first.

    Raises ConfigError naming file and place: an unknown key (with the nearest known one), a wrong value, a name or a
    priority that two rules share, a cfg that is not beside the files, or a folder without profiles.
    """
    found: list[tuple[Path, Rule]] = []
    for path in sorted(folder.glob("*.yaml")):
        if path.name == CATALOGUE_FILE:
            continue
        for rule in load_yaml(path, RuleFile).profiles:
            _check(rule, path, found)
            found.append((path, rule))
    if not found:
        raise ConfigError(f"{folder}: holds no profile", fix="Reinstall the agent; its profiles are missing.")
    return tuple(sorted((rule for _, rule in found), key=lambda rule: -rule.priority))


def _check(rule: Rule, path: Path, others: list[tuple[Path, Rule]]) -> None:
    where = f"{path}: profile {rule.name!r}"
    for other_path, other in others:
        if rule.name == other.name:
            raise ConfigError(f"{where} is in {other_path.name} already", fix="Rename one of the two.")
        if rule.priority == other.priority:
            raise ConfigError(
                f"{where} has priority {rule.priority}, and so has {other.name!r} of {other_path.name}",
                fix="Give each profile its own priority, so that the choice does not depend on the order of files.",
            )
    if not rule.networks:
        raise ConfigError(f"{where} names no network", fix="Name at least one; two, so that the second can stand in.")
    if rule.cfg is not None and not (path.parent / rule.cfg).is_file():
        raise ConfigError(f"{where} names {rule.cfg}, which is not there", fix=f"Put {rule.cfg} beside {path.name}.")
    if rule.engine == "native" and rule.cfg is None:
        raise ConfigError(f"{where} has engine native but no cfg", fix="Name the .cfg file that KataGo is given.")
    if rule.threads.min > rule.threads.max:
        raise ConfigError(f"{where}: threads.min is above threads.max", fix="Swap the two or change one.")
    if rule.cache.min_positions > rule.cache.max_positions:
        raise ConfigError(
            f"{where}: cache.min_positions is above cache.max_positions", fix="Swap the two or change one."
        )
    runtime = "katago" if rule.engine == "native" else None
    for candidate in rule.networks:
        if (candidate.runtime == "katago") != (runtime == "katago"):
            raise ConfigError(
                f"{where}: engine {rule.engine} cannot use runtime {candidate.runtime}",
                fix="The native engine takes runtime katago, the built-in one a network runtime.",
            )
