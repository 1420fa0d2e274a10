"""What an analysis engine answers, made up. Imports nothing that takes time: a child process starts with it."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]


def report(query: Fields, turn: int | None = None, *, during: bool = False, visits: int = 10, **more: Any) -> Fields:
    """An answer with the fields that KataGo always sends."""
    turn = turn if turn is not None else query.get("analyzeTurns", [len(query["moves"])])[0]
    info = {
        "move": "D4",
        "visits": visits - 1,
        "winrate": 0.5,
        "scoreLead": 0.0,
        "order": 0,
        "prior": 0.1,
        "pv": ["D4"],
    }
    root = {"currentPlayer": "B", "visits": visits, "winrate": 0.5, "scoreLead": 0.25}
    return {
        "id": query["id"],
        "turnNumber": turn,
        "isDuringSearch": during,
        "moveInfos": [info],
        "rootInfo": root,
        **more,
    }


def no_results(query: Fields, turn: int) -> Fields:
    return {"id": query["id"], "isDuringSearch": False, "noResults": True, "turnNumber": turn}
