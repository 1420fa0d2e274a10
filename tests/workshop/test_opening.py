"""What a person names as a network, where the folder that the agent was called in is closed to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from fakes.pull_child import start_forkserver
from fakes.stranger import STRANGER, in_child, shared_folder

from agent.errors import CalibrationError, ConfigError, StoreUnwritable
from agent.events import SilentReporter
from agent.export.publish import publishing
from agent.model.owner import become_owner
from agent.workshop.opening import open_network, open_player
from agent.workshop.sgf import read_folder


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return start_forkserver()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a `home` and the state folder of a service, which is not root's."""
    with shared_folder() as folder:
        (folder / "home").mkdir()
        (folder / "state").mkdir()
        if os.geteuid() == 0:
            os.chown(folder / "state", STRANGER, STRANGER)
        yield folder
        (folder / "home").chmod(0o700)


def in_closed_home(place: Path, function: Callable[[Path], Any]) -> Any:
    """What the function makes of the state folder after `cd; sudo …`; for a process of its own."""
    os.chdir(place / "home")
    (place / "home").chmod(0)
    become_owner(place / "state")
    return function(place / "state")


def open_named(state: Path) -> None:
    open_network("unheard-of", state, SilentReporter())


def open_player_named(state: Path) -> None:
    open_player("unheard-of", state, SilentReporter())


def publish_beside(state: Path) -> None:
    del state
    with publishing(Path("artifacts")):
        raise AssertionError("nothing can be made here")


def read_beside(state: Path) -> None:
    del state
    read_folder([Path("games")], SilentReporter())


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (open_named, ConfigError),
        (open_player_named, ConfigError),
        (publish_beside, StoreUnwritable),
        (read_beside, CalibrationError),
    ],
)
def test_a_home_that_the_service_may_not_enter(
    function: Callable[[Path], Any], error: type[Exception], context: ForkServerContext, place: Path
) -> None:
    with pytest.raises(error):
        in_child(context, in_closed_home, place, function)
