"""What a journal of `search_agreement.py` says: how far two ways to search agree, and how far one with itself."""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent.parent / "golden" / "raw_nn.jsonl.gz"
BOOTSTRAPS = 4000
# What the project promises: agreement within so many standard errors, and so much more distance in win rate.
ERRORS_APART, WINRATE_RATIO = 2.0, 1.5

Row = dict[str, Any]
# One position: the rows of one label, by seed.
Searches = list[Row]


def golden() -> list[Row]:
    with gzip.open(GOLDEN, "rt") as file:
        return [json.loads(line) for line in file]


def read_journal(journal: Path) -> list[Row]:
    """The rows of a journal; a line cut off by the end of a run is no row."""
    if not journal.exists():
        return []
    rows = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def agreement(a: Row, b: Row) -> float:
    return float(a["moves"][0][0] == b["moves"][0][0])


def winrate_distance(a: Row, b: Row) -> float:
    return abs(float(a["winrate"]) - float(b["winrate"]))


def lead_distance(a: Row, b: Row) -> float:
    return abs(float(a["lead"]) - float(b["lead"]))


MEASURES = {"agreement": agreement, "winrate": winrate_distance, "lead": lead_distance}


def within(searches: Searches) -> list[tuple[Row, Row]]:
    return list(itertools.combinations(searches, 2))


def between(a: Searches, b: Searches) -> list[tuple[Row, Row]]:
    return list(itertools.product(a, b))


def report(options: argparse.Namespace) -> int:
    rows = [row for row in read_journal(options.journal) if row["visits"] == options.visits]
    wanted = options.compare.split(",")
    by_label: dict[str, dict[int, Searches]] = {label: {} for label in wanted}
    for row in sorted(rows, key=lambda row: row["seed"]):
        if row["label"] in by_label and row["seed"] in options.seeds:
            by_label[row["label"]].setdefault(row["position"], []).append(row)
    sizes = [max(row["size"]) for row in golden()]
    reference, *others = wanted
    passed = True
    for other in others:
        theirs, ours = by_label[reference], by_label[other]
        full = [
            index
            for index in sorted(theirs.keys() & ours.keys())
            if len(theirs[index]) == len(ours[index]) == len(options.seeds) and options.board in (None, sizes[index])
        ]
        if not full:
            print(f"{other}: no position was searched by both with all seeds yet")
            passed = False
            continue
        print(
            f"{other} against {reference}: {len(full)} positions, {len(options.seeds)} seeds, {options.visits} visits"
        )
        passed = compare(full, theirs, ours) and passed
        if options.list:
            list_differences(full, theirs, ours)
    return 0 if passed else 1


def compare(full: list[int], theirs: dict[int, Searches], ours: dict[int, Searches]) -> bool:
    """Print each measure within the reference, within the other, and between the two; whether the promise holds."""
    draw = np.random.default_rng(1)
    samples = draw.integers(0, len(full), (BOOTSTRAPS, len(full)))
    held = True
    for name, measure in MEASURES.items():
        own, other, cross = (
            np.array([np.mean([measure(a, b) for a, b in pairs]) for pairs in each])
            for each in (
                [within(theirs[index]) for index in full],
                [within(ours[index]) for index in full],
                [between(theirs[index], ours[index]) for index in full],
            )
        )
        error = (cross - own)[samples].mean(axis=1).std()
        text = f"  {name:10} reference {own.mean():.4f}, other {other.mean():.4f}, between {cross.mean():.4f}"
        if name == "agreement":
            apart = (own.mean() - cross.mean()) / error if error else 0.0
            held = held and apart <= ERRORS_APART
            spread = own[samples].mean(axis=1).std()
            text += f": {apart:+.2f} standard errors below ({error:.4f}; of the reference {spread:.4f})"
        else:
            ratio = cross.mean() / own.mean() if own.mean() else 1.0
            spread = (cross[samples].mean(axis=1) / own[samples].mean(axis=1)).std()
            held = held and (name != "winrate" or ratio <= WINRATE_RATIO)
            text += f": {ratio:.3f} times (± {spread:.3f})"
        print(text)
    signed = [
        np.mean([row["winrate"] for row in ours[index]]) - np.mean([row["winrate"] for row in theirs[index]])
        for index in full
    ]
    print(f"  mean difference of White's win rate {np.mean(signed):+.4f} ± {np.std(signed) / len(signed) ** 0.5:.4f}")
    return held


def list_differences(full: list[int], theirs: dict[int, Searches], ours: dict[int, Searches]) -> None:
    """The positions whose win rates lie furthest apart, beyond what seeds do."""
    rows = golden()

    def beyond(index: int) -> float:
        a, b = theirs[index], ours[index]
        between_rows = np.mean([winrate_distance(x, y) for x, y in between(a, b)])
        return float(between_rows - np.mean([winrate_distance(x, y) for x, y in within(a)]))

    for index in sorted(full, key=beyond, reverse=True)[:20]:
        row = rows[index]
        print(f"  position {index} {row['size']} {row['rules']} move {len(row['moves'])}: {beyond(index):+.4f}")
        for name, searches in (("reference", theirs[index]), ("other", ours[index])):
            told = " | ".join(
                f"{each['winrate']:.3f} " + " ".join(f"{move[0]}:{move[1]}" for move in each["moves"][:3])
                for each in searches
            )
            print(f"    {name:9} {told}")
