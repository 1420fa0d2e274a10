"""SGF: what is read of a game, what is refused with its reason, and that what is written can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.points import BLACK, EMPTY, WHITE, vertex
from agent.engine.rules import parse_rules_and_komi
from agent.errors import RecordUnreadable
from agent.record.sgf import Record, known_rules, parse_sgf, point_text, position_of, read_sgf
from agent.record.tree import MAX_SGF_BYTES, append, main_line, new_tree, parse_tree, put, text_of, values, write_tree


def moves(record: Record) -> list[str]:
    letter = {BLACK: "B", WHITE: "W"}
    return [f"{letter[color]} {vertex(point, record.x_size, record.y_size)}" for color, point in record.moves]


def test_a_game_with_everything() -> None:
    record = parse_sgf(
        "(;GM[1]FF[4]SZ[13:9]KM[6.5]RU[Chinese]HA[2]PB[黒]PW[W [9d\\]]RE[B+R]DT[2024-01-02]EV[Cup]AB[cc][kg]AW[aa:ba];"
        "W[gg](;B[];W[mi];B[tt])(;B[dd]))"
    )
    assert moves(record) == ["W G3", "B pass", "W N1", "B pass"]
    assert record.set_up == ((BLACK, 28), (BLACK, 88), (WHITE, 0), (WHITE, 1))
    assert (record.rules, record.komi, record.black, record.white) == ("Chinese", 6.5, "黒", "W [9d]")
    assert (record.result, record.date, record.event, record.ends_early) == ("B+R", "2024-01-02", "Cup", "")
    assert record.initial_player == WHITE and record.first_player is None


def test_set_up_over_several_nodes_and_stones_that_are_taken_off_before_the_first_move() -> None:
    record = parse_sgf("(;SZ[9]AB[aa:bb];AE[ab]PL[B];C[only words];AW[cc];B[ee])")
    assert record.set_up == ((BLACK, 0), (BLACK, 1), (BLACK, 9), (BLACK, 10), (EMPTY, 9), (WHITE, 20))
    assert moves(record) == ["B E5"] and record.first_player == BLACK


def test_a_board_that_is_edited_later_ends_the_game_there_and_says_so() -> None:
    record = parse_sgf("(;SZ[9];B[ee];W[cc];AB[aa];B[gg])")
    assert len(record.moves) == 2 and record.ends_early == "stones are set or taken off after move 2"


@pytest.mark.parametrize(
    "variations",
    [
        "(;W[cc];B[gg])\n(;W[gc])",
        "(;W[cc];B[gg]C[ha (;-) \\]])\n( ;W[gc])",
        "(\n;W[cc]C[ha (;-) ];B[gg])\n(\n;W[gc])",
    ],
)
@pytest.mark.parametrize("space", ["", "\n", "\r\n \t"])
def test_a_root_is_a_root_whatever_space_an_editor_leaves_before_it(space: str, variations: str) -> None:
    text = f"\ufeff({space};GM[1]SZ[9]KM[7]RU[chinese]PB[Lee]C[a (;-) smile]\n;B[ee]\n{variations})\n"
    record = parse_sgf(text)
    assert (record.x_size, record.komi, record.rules, record.black) == (9, 7.0, "chinese", "Lee")
    assert moves(record) == ["B E5", "W C7", "B G3"] and not record.is_first_of_several
    assert [text_of(each, "W") for each in main_line(parse_tree(text))[1].children] == ["cc", "gc"]


@pytest.mark.parametrize(
    ("after", "is_first"),
    [
        ("(;SZ[13];B[cc])", True),
        ("\n\n(\n;SZ[13])\n", True),
        ("(;SZ[13];B[cc]", True),
        ("\n-- \nsent by a friend", False),
        (" ) ]", False),
    ],
)
def test_of_several_games_the_first_is_read_and_says_that_there_are_others(after: str, is_first: bool) -> None:
    record = parse_sgf("(;SZ[9]C[no end: \\])) (;SZ[5\\]];B[ee](;W[cc])(;W[gc]))" + after)
    assert (record.x_size, moves(record)) == (9, ["B E5", "W C7"])
    assert record.is_first_of_several is is_first


@pytest.mark.parametrize(
    ("text", "player"),
    [
        ("(;SZ[9])", BLACK),
        ("(;SZ[9]AB[aa])", BLACK),
        ("(;SZ[9]AB[aa][bb])", WHITE),
        ("(;SZ[9]AB[aa][bb]AW[cc])", BLACK),
        ("(;SZ[9]AB[aa][bb]PL[black])", BLACK),
        ("(;SZ[9];W[aa])", WHITE),
    ],
)
def test_who_begins(text: str, player: int) -> None:
    assert parse_sgf(text).initial_player == player


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("6.5", 6.5), ("3.75", 4.0), ("375", 7.5), ("650", 6.5), ("0", 0.0), ("-7.5", -7.5), ("", 7.5)],
)
def test_komi_in_the_ways_of_servers(written: str, read_as: float) -> None:
    assert position_of(parse_sgf(f"(;SZ[9]KM[{written}];B[ee])"), parse_rules_and_komi("chinese")).komi == read_as


def test_rules_by_the_names_of_servers() -> None:
    assert known_rules("cn") == known_rules("Chinese") and known_rules("") == known_rules("jp")
    assert known_rules("Martian") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\x1f\x8b\x08\x00PNG", "no text"),
        (b"hello", "no SGF"),
        (b"(;SZ[9];B[ee]", "no SGF"),
        (b"(" * 5000 + b";", "no SGF"),
        (b"x" * (MAX_SGF_BYTES + 1), "larger than 1 MB"),
        (b"(;SZ[25];B[ee])", "25x25"),
        (b"(;SZ[0];B[ee])", "0x0"),
        (b"(;SZ[big];B[ee])", "no size of a board"),
        (b"(;SZ[9];B[zz])", "'zz', which is no point of 9x9"),
        (b"(;SZ[9];B[e])", "no point"),
        (b"(;SZ[9]AB[tt];B[ee])", "no point"),
        (b"(;SZ[9]KM[six];B[ee])", "komi of six"),
        (b"(;SZ[9]KM[inf];B[ee])", "komi of inf"),
        (b"(;GM[3]SZ[8];B[ee])", "another game"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_game_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RecordUnreadable, match=reason):
        parse_sgf(data)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecordUnreadable, match="No such file"):
        read_sgf(tmp_path / "absent.sgf")
    with pytest.raises(RecordUnreadable, match="Is a directory"):
        read_sgf(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", ""),
        ("utf-8", "CA[UTF-8]"),
        ("gb18030", ""),
        ("gb18030", "CA[GB2312]"),
        ("utf-8", "CA[klingon]"),
    ],
)
def test_names_in_the_encodings_of_servers(encoding: str, declared: str) -> None:
    # GB2312 as declared has both characters; GB18030 is its superset.
    assert parse_sgf(f"(;SZ[9]{declared}PB[古力];B[ee])".encode(encoding)).black == "古力"


@pytest.mark.parametrize(
    ("label", "encoding", "name"),
    [
        ("gb2312", "gb18030", "李喆"),
        ("gb2312", "gb18030", "朴廷桓 發揮"),
        ("GB2312", "gb18030", "深淺"),
        ("gbk", "gb18030", "朱元豪 𠮷"),
        ("x-gbk", "gb18030", "發揮"),
        ("gb_2312-80", "gb18030", "發揮"),
        ("Shift_JIS", "cp932", "髙尾 ①表Ⅹ"),
        ("x-sjis", "cp932", "表"),
        ("Big5", "cp950", "許功蓋～"),
        ("Big5", "big5hkscs", "𡃁仔"),
        ("euc-kr", "cp949", "쏼똠"),
        ("ks_c_5601-1987", "cp949", "박정환 똠"),
    ],
)
def test_what_an_encoding_is_called_is_not_always_what_it_is(label: str, encoding: str, name: str) -> None:
    """Their second byte may be that of "]" or of a backslash, which no reader of the narrow encoding would find."""
    record = parse_sgf(f"(;SZ[9]CA[{label}]PB[{name}]PW[x];B[ee];W[cc])".encode(encoding))
    assert (record.black, record.white, len(record.moves)) == (name, "x", 2)


@pytest.mark.parametrize("encoding", ["undefined", "idna", "unicode_escape", "raw_unicode_escape"])
def test_an_encoding_that_is_none_of_text_is_passed_over(encoding: str) -> None:
    black = parse_sgf(rf"(;SZ[9]CA[{encoding}]PB[\ud800];B[ee])".encode()).black
    assert black.endswith("ud800") and black.encode()


def test_what_is_written_is_read_again_whatever_the_text() -> None:
    odd = "a ] b \\ c [d] : ;B[aa] (\nEnde"
    root = new_tree()
    put(root, "SZ", ["9"])
    put(root, "PB", [odd])
    node = append(append(root, "B", "ee"), "W", point_text(81, 9, 9))
    put(node, "C", [odd])
    append(root, "B", "aa")
    written = write_tree(root)
    read = parse_tree(written.encode())
    nodes = main_line(read)
    assert [text_of(each, "C") for each in nodes] == ["", "", odd]
    assert parse_sgf(written).black == odd and values(nodes[2], "W") == [""] and text_of(read, "CA") == "UTF-8"
    assert len(read.children) == 2


@pytest.mark.parametrize(
    ("raw", "meant", "written"),
    [
        ("[1\\][2\\] end", "[1][2] end", "[1\\][2\\] end"),
        ("Alice [3k\\] [away\\]: hi", "Alice [3k] [away]: hi", "Alice [3k\\] [away\\]: hi"),
        ("x\\:y", "x:y", "x\\:y"),
        ("\\a\\[\\)\\;", "a[);", "a[);"),
        ("so\\\nft, so\\\r\nft, so\\\n\rft", "soft, soft, soft", "soft, soft, soft"),
        ("hard\r\n\r\n\\\\\nhard", "hard\r\n\r\n\\\nhard", "hard\r\n\r\n\\\\\nhard"),
        ("a\\\\][b", "a\\", "a\\\\][b"),
        ("\ufdd0\\\ufdd0c", "\ufdd0\ufdd0c", "\ufdd0\ufdd0c"),
    ],
)
def test_what_is_escaped_is_read_without_and_written_with_it(raw: str, meant: str, written: str) -> None:
    root = parse_tree(f"(;SZ[9]C[{raw}];B[ee])")
    assert values(root, "C")[0] == meant
    assert write_tree(root) == f"(;SZ[9]C[{written}]CA[UTF-8];B[ee])\n"


# ---------------------------------------------------------------- the property: no text is lost on the way


def as_read(sgf: str) -> list[tuple[str, list[str]]]:
    """Names and texts of all properties in order, read another way than ours: character by character."""
    found: list[tuple[str, list[str]]] = []
    name, text, rest = "", None, iter(sgf)
    for each in rest:
        if text is None:
            if each == "[":
                text = ""
                if name:
                    found.append((name, []))
                    name = ""
            elif each.isalpha():
                name += each
        elif each == "]":
            found[-1][1].append(text)
            text = None
        elif each == "\\":
            text += next(rest).replace("\n", "")
        else:
            text += each
    return found


# With brackets, backslashes, and what stands for them in the parser; of each encoding some whose second byte is theirs.
ODD = "[]\\:;()B a\n"
CHARACTERS = {
    "": ODD + "\tbcdm\ufdd0\ufdd1\ue000棋囲碁바둑é😀\u2028",
    "UTF-8": ODD + "\tbcdm\ufdd0棋囲碁바둑é😀\x85",
    "gb2312": ODD + "".join(bytes((lead, 0x5C + lead % 2)).decode("gb18030") for lead in range(0x81, 0xFE)),
    "Shift_JIS": ODD + "表ソ能Ⅹ髙碁ｱ",
    "Big5": ODD + "許功蓋么崤",
}
ENCODINGS = {"gb2312": "gb18030", "Shift_JIS": "cp932", "Big5": "cp950"}


@st.composite
def records(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A label, a file as an editor might write it, and the texts in it: a name, a comment, and a label and a comment of
    moves."""
    label = draw(st.sampled_from(sorted(CHARACTERS)))
    texts = draw(st.lists(st.text(CHARACTERS[label], max_size=12), min_size=4, max_size=4))
    raw = []
    for text in texts:
        # Whatever may be escaped, and line ends that are none.
        chosen = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
        parts = [
            f"\\{each}" if each in "]\\" or (is_chosen and each != "\n") else each
            for each, is_chosen in zip(text, chosen, strict=True)
        ]
        raw.append(("\\\n" if draw(st.booleans()) else "").join(parts))
    name, comment, mark, last = raw
    declared = f"CA[{label}]" if label else ""
    sgf = f"(;SZ[9]{declared}PB[{name}]C[{comment}];B[ee]LB[aa:{mark}] [bb:x\\:y](;W[cc]C[{last}])(;W[dd]))"
    return label, sgf, texts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(records())
def test_texts_are_read_as_they_are_meant_and_written_as_they_were_read(given: tuple[str, str, list[str]]) -> None:
    label, sgf, (name, comment, mark, last) = given
    root = parse_tree(sgf.encode(ENCODINGS.get(label, "utf-8")))
    nodes = main_line(root)
    read = [values(root, "PB"), values(root, "C"), values(nodes[1], "LB"), values(nodes[2], "C")]
    assert read == [[name], [comment], [f"aa:{mark}", "bb:x:y"], [last]]
    put(nodes[2], "C", [last])
    before = [each for each in as_read(sgf) if each[0] != "CA"]
    written = write_tree(root)
    assert [each for each in as_read(written) if each[0] != "CA"] == before
    # Composed values keep what tells their halves apart, and another turn changes nothing more.
    assert "x\\:y" in written and write_tree(parse_tree(written.encode())) == written
