"""`agent speed`, from the command line to the table."""

from __future__ import annotations

import json
from pathlib import Path

from fakes.network_writer import NetworkWriter
from typer.testing import CliRunner

from agent.__main__ import app
from agent.errors import StoreUnwritable
from agent.model.disk import sha256_of
from agent.workshop.place import artifact_folder
from agent.workshop.speed import FILE


def test_what_was_measured_is_told_also_where_it_cannot_be_kept(tmp_path: Path) -> None:
    """On one thread and the smallest board: every path of a network is opened in a process of its own."""
    network = NetworkWriter(8, ["ordinary"]).write(tmp_path / "small.bin.gz")
    (tmp_path / "agent.yaml").write_text(f"state_dir: {tmp_path / 'state'}\nthreads: 1\n")
    in_the_way = artifact_folder(tmp_path / "state", sha256_of(network)) / FILE
    in_the_way.mkdir(parents=True)
    measure = ("--board", "2", "--rounds", "1", "--turn", "0.05", "--json")
    result = CliRunner().invoke(app, ["speed", str(network), "--config", str(tmp_path / "agent.yaml"), *measure])
    assert isinstance(result.exception, StoreUnwritable) and list(in_the_way.iterdir()) == []
    (table,) = json.loads(result.stdout)
    (board,) = table["boards"]
    assert board["board"] == "2x2" and all(path["evals_per_s"] > 0 for path in board["paths"])
    assert {path["contender"]["form"] for path in board["paths"]} >= {"plain", "winograd"}
