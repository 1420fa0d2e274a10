"""The hashes of positions that reports carry: native KataGo's own, and where their numbers come from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from agent.engine.backends.uniform import UniformBackend
from agent.engine.messages import Position, SearchRequest
from agent.engine.points import BLACK, WHITE, parse_vertex
from agent.engine.rules import Rules
from agent.engine.tree import EvalCache, LeafBatch, SearchTree

SOURCE = Path(__file__).resolve().parents[2] / "agent" / "engine" / "core" / "katago_hash.cpp"
SENTENCES = ("Board::initHash()", "Board::initHash() for ZOBRIST_SIZE hashes")

# Width, height, stones before the game, moves, thisHash and symHash: what native KataGo 1.17.2 answered.
# KO and a move end with a capture that may not be retaken at once.
KO = "B C5 B B4 B C3 W D5 W E4 W D3 W C4"
RECORDED = [
    (19, 19, "", "", "47E1EBDAE69A5DED3FF8DB1FA4E91845", "47E1EBDAE69A5DED3FF8DB1FA4E91845"),
    (9, 7, "", "B C5 W D4", "7AEFECE3A1A7D0723D1DFFCF7109D029", "49BAE51E34A4A9A5026688113EB1713A"),
    (9, 7, KO, "B D4", "1C9A4E52B17C25DE8B5347583F5BEBF1", "1C9A4E52B17C25DE8B5347583F5BEBF1"),
    (9, 9, KO, "B D4", "0A7D34FF56FC1FF213192DD1CC2645EE", "0A7D34FF56FC1FF213192DD1CC2645EE"),
    (13, 2, "", "W", "38EA02E3B989B452BF86C443EBA86C28", "38EA02E3B989B452BF86C443EBA86C28"),
]


def placed(text: str, width: int, height: int) -> tuple[tuple[int, int], ...]:
    words = text.split()
    points = [parse_vertex(name, width, height) for name in words[1::2]]
    colors = [BLACK if name == "B" else WHITE for name in words[::2]]
    return tuple((color, point) for color, point in zip(colors, points, strict=False) if point is not None)


@pytest.mark.parametrize(("width", "height", "stones", "moves", "this_hash", "sym_hash"), RECORDED)
def test_hashes_are_native_katagos(
    width: int, height: int, stones: str, moves: str, this_hash: str, sym_hash: str
) -> None:
    backend = UniformBackend()
    played = placed(moves, width, height)
    position = Position(
        width,
        height,
        Rules(),
        7.0,
        initial_stones=placed(stones, width, height),
        initial_player=WHITE if moves == "W" else BLACK,
        moves=played,
    )
    tree, batch = SearchTree(backend.network, EvalCache(100), 1), LeafBatch(1)
    wanted = SearchRequest(id=1, position=position, player=position.to_play, max_visits=1)
    tree.begin(wanted)
    assert tree.select(batch, 1) == 1
    tree.deliver(batch, backend.evaluate(batch.spatial, batch.global_))
    root = tree.report(wanted, final=True, duration_s=0.0).root
    assert root is not None
    assert (root.this_hash, root.sym_hash) == (this_hash, sym_hash)


def words_of(sentence: str) -> list[int]:
    """The start of KataGo's generator, as its Rand::init makes it of a sentence."""
    digits = int.from_bytes(hashlib.md5(sentence.encode()).digest()[:4], "little")
    found: list[int] = []
    for count in range(0, 37 * 5, 37):
        digest = hashlib.sha256(f"{count}|{digits}|{sentence}".encode()).digest()
        found += [int.from_bytes(digest[at : at + 8], "big") for at in range(0, 32, 8)]
    return found[:17]


def test_the_numbers_begin_as_katagos_do() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    written = [int(number, 16) for number in re.findall(r"0x([0-9a-f]{16})ULL", text)]
    assert written == [word for sentence in SENTENCES for word in words_of(sentence)]
