"""KataGo's .cfg files: what is read, and what is refused with native KataGo's words and the line."""

from __future__ import annotations

import pytest

from agent.errors import ConfigError
from agent.service.config_file import Setting, parse_config


def read(text: str, **files: str) -> dict[str, str]:
    """The settings of `text`, which may include `files`, named with _ for . and __ for /."""
    named = {name.replace("__", "/").replace("_cfg", ".cfg"): content for name, content in files.items()}
    return {name: setting.text for name, setting in parse_config(text, "a.cfg", named.__getitem__).items()}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("k = 3", "3"),
        ("k=3", "3"),
        ("\tk  =   3 \r", "3"),
        ("k = a b, c # a comment", "a b, c"),
        ("k = a#b", "a"),
        ('k = "a # b"', "a # b"),
        ('k = " a " # a comment', " a "),
        (r'k = "a \"b\" \\ c"', r'a "b" \ c'),
        ("k = a=b", "a=b"),
        ("k = 'a'", "'a'"),
        ('k = a "b"', 'a "b"'),
        ("k = é囲", "é囲"),
    ],
)
def test_values(line: str, value: str) -> None:
    assert read(line) == {"k": value}


def test_a_file_with_all_that_may_stand_in_one() -> None:
    text = '\ufeff# A comment\n\n   # another\nlogDir = gtp_logs    # where\n\nkey-1_b = 5\n@include "b.cfg" #\n k2 = 6'
    assert read(text, b_cfg="k3 = 7\n") == {"logDir": "gtp_logs", "key-1_b": "5", "k3": "7", "k2": "6"}


def test_settings_know_where_they_stand() -> None:
    found = parse_config("\na = 1\n@include b.cfg\nc = 3", "x/a.cfg", {"x/b.cfg": "b = 2"}.__getitem__)
    assert found == {"a": Setting("1", "x/a.cfg", 2), "b": Setting("2", "x/b.cfg", 1), "c": Setting("3", "x/a.cfg", 4)}
    assert found["c"].place == ", line 4 in 'x/a.cfg'" and Setting("1").place == ""


def test_included_files_are_found_from_the_file_that_names_them_and_overridden_by_what_follows() -> None:
    assert read("@include sub/b.cfg\nk = 2", sub__b_cfg="k = 1\n@include c.cfg", sub__c_cfg="m = 3") == {
        "k": "2",
        "m": "3",
    }
    assert read("k = 2\n@include=b.cfg", b_cfg="k = 1") == {"k": "1"}
    assert read("@include '/etc/b.cfg'", **{"/etc/b_cfg": "k = 1"}) == {"k": "1"}


PAIR = "Could not parse key value pair, line 1 in 'a.cfg'"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo", PAIR),
        ("foo =", PAIR),
        ("foo = # 3", PAIR),
        ("= 3", PAIR),
        ("foo bar = 3", PAIR),
        ("a,b = 3", PAIR),
        ("föö = 3", PAIR),
        ('a = "3', PAIR),
        ('a = "3\\"', PAIR),
        ('a = "3" 4', PAIR),
        ('a = ""', PAIR),
        ("foo # = 3", PAIR),
        (
            "a = 1\n\nb = 2\na = 3",
            "Key 'a' + was specified multiple times in a.cfg, you probably didn't mean to do this,"
            " please delete one of them, line 4 in 'a.cfg'",
        ),
        ("@inc", "Unsupported @ directive, line 1 in 'a.cfg'"),
        ("@includes x", "Unsupported @ directive '@includes', line 1 in 'a.cfg'"),
        ("@includes=", "Unsupported @ directive '@includes', line 1 in 'a.cfg'"),
        ("@include-x.cfg", "@ directive without value (key-val separator is not found), line 1 in 'a.cfg'"),
        (
            "@include  # x.cfg",
            "@ directive without value (value after key-val separator is not found), line 1 in 'a.cfg'",
        ),
        ("\n@include a.cfg", "Circular or multiple inclusion of the same file: 'a.cfg', line 2 in 'a.cfg'"),
        (
            "@include b.cfg\n@include b.cfg",
            "Circular or multiple inclusion of the same file: 'b.cfg', line 2 in 'a.cfg'",
        ),
        ("@include c.cfg", "Circular or multiple inclusion of the same file: 'a.cfg', line 1 in 'c.cfg'"),
    ],
)
def test_what_is_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, b_cfg="x = 1", c_cfg="@include a.cfg")
    assert str(caught.value) == error
    assert caught.value.fix
