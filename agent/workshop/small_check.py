"""Whether a network's answers on this machine are the ones they should be: a few positions against stored answers.

Not a judgement of a quantization, which `verify` makes on hundreds of positions, but of a runtime: kernels that compute
something else on some processor are far away from every bound here. The stored answers lie beside the network's
artifacts and travel with them, so that another machine's answers are compared wherever there are any.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from agent.errors import StorageFull, StoreUnwritable
from agent.model import disk
from agent.workshop.probe_messages import Answer, Answers

log = logging.getLogger(__name__)

FILE: Final = "check.answers"
# Of a human-style network, whose answers are those of the players that it imitates.
_FILE_OF: Final = "check.{}.answers"


class Bound(NamedTuple):
    """Largest difference of a win probability, and largest share of the policy that lies elsewhere (total variation),
    of any of the positions."""

    win: float
    policy: float


# Generous: some ten times what each precision was measured to do on average over positions (facts of the quantization
# trial: fp16 win 4e-4, int8 0.02 to 0.03 of the worst recipe that plays); a wrong kernel is off by far more.
BOUNDS: Final = {
    "fp32": Bound(0.002, 0.005),
    "fp16": Bound(0.02, 0.04),
    "int8-weights": Bound(0.1, 0.2),
    "int8": Bound(0.3, 0.5),
}


def differences(answers: Answers, expected: Answers, precision: str) -> str | None:
    """The sentence that says where `answers` are wrong, None where they are right."""
    if [each.board for each in answers.answers] != [each.board for each in expected.answers]:
        return "it answered for other positions"
    for found, wanted in zip(answers.answers, expected.answers, strict=True):
        win, policy = _apart(found, wanted)
        bound = BOUNDS[precision]
        if not (win <= bound.win and policy <= bound.policy):  # a NaN is wrong too
            return (
                f"its answers are wrong on {found.board}: win off by {win:.4f} (at most {bound.win:g}), policy by "
                f"{policy:.4f} (at most {bound.policy:g})"
            )
    return None


def _apart(found: Answer, wanted: Answer) -> tuple[float, float]:
    if len(found.value) != len(wanted.value) or len(found.policy) != len(wanted.policy):
        return float("inf"), float("inf")
    policy = sum(abs(left - right) for left, right in zip(found.policy, wanted.policy, strict=True)) / 2
    return max(abs(left - right) for left, right in zip(found.value, wanted.value, strict=True)), policy


def answers_file(folder: Path, human_profile: str) -> Path:
    """Where the answers lie, of a human-style network those of `human_profile`."""
    return folder / (_FILE_OF.format(human_profile) if human_profile else FILE)


def load_answers(folder: Path, human_profile: str = "") -> Answers | None:
    """What is stored beside the artifacts in `folder`, None where there is nothing that can be read."""
    path = answers_file(folder, human_profile)
    try:
        if disk.is_special(path):
            raise OSError("it is no file")
        return msgspec.json.decode(path.read_bytes(), type=Answers)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        log.warning("%s cannot be used and is made anew: %s", path, error)
        return None


def store_answers(folder: Path, answers: Answers, human_profile: str = "") -> None:
    """Keep `answers` for the next time and other machines; a folder that cannot be written to is no failure."""
    try:
        with disk.storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            disk.write_atomically(answers_file(folder, human_profile), msgspec.json.encode(answers) + b"\n")
    except (StorageFull, StoreUnwritable) as error:
        log.warning("the check's answers are not kept: %s", error)
