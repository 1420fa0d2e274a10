"""The files of what is said in a match."""

from __future__ import annotations

from pathlib import Path

from agent.workshop.gtp_log import GtpLogs


def test_a_folder_from_which_files_were_taken_away_is_no_trouble(tmp_path: Path) -> None:
    for name in ("first-2.log", "first-10.log", "first-notes.log", "second-3.log"):
        (tmp_path / name).write_text("earlier\n")
    log = GtpLogs(tmp_path).open(0)
    log.add(">", "name")
    log.close()
    assert (tmp_path / "first-11.log").read_text() == "> name\n"
    assert (tmp_path / "first-2.log").read_text() == "earlier\n"
