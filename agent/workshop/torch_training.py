"""Trains a `Student` to answer as its fp32 teacher does. Start at `Training`. Needs the extra "qat".

Step n is a pure function of the state after step n − 1, the positions and the seed: nothing is drawn from a generator
that would have to be kept. On a CPU with the same number of threads a run that was interrupted therefore ends with the
very numbers of one that was not.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from agent.engine.backends.interface import Outputs
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.qat_options import QatOptions
from agent.workshop.torch_network import TorchOutputs
from agent.workshop.torch_student import Student
from agent.workshop.torch_teacher import to_tensors

# What each part of the loss counts. All are near the squares of the errors that `agent verify` reports; on b6c96 they
# are of one order of magnitude with these.
_POLICY, _VALUE, _SCORE, _OWNERSHIP = 1.0, 2.0, 2.0, 1.0
# The optimistic policy is mixed in at a fifth by the search.
_SECOND_POLICY = 0.2
# Half of the usual 0.999: there are few steps, and the gradients of the first ones are not those of the last.
_BETAS = (0.9, 0.99)
_ILLEGAL = -1e9


@dataclasses.dataclass(frozen=True)
class Loss:
    """Means over one batch."""

    policy: float
    value: float
    score: float
    ownership: float

    @property
    def total(self) -> float:
        return _POLICY * self.policy + _VALUE * self.value + _SCORE * self.score + _OWNERSHIP * self.ownership


class Training:
    """`done` steps are behind it."""

    def __init__(
        self, student: Student, positions: PositionSet, answers: Sequence[Outputs], options: QatOptions
    ) -> None:
        self.student, self._positions, self._answers, self._options = student, positions, answers, options
        self.done = 0
        student.module.to(options.device)
        self._rates: list[float] = []
        self._optimizer = torch.optim.AdamW(self._groups(), betas=_BETAS, weight_decay=0.0)
        self._plan: tuple[int, list[_Batch]] = (-1, [])

    def step(self) -> Loss:
        """Learn from one batch."""
        options = self._options
        batch = self._batch(self.done)
        group, teacher = self._positions.groups[batch.group], self._answers[batch.group]
        share = _schedule(self.done, options)
        for parameters, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            parameters["lr"] = rate * share
        outputs: TorchOutputs = self.student.module(*to_tensors(group, batch.index, options.device))
        parts = _losses(outputs, teacher, group, batch.index, options.device)
        loss = Loss(*(float(part.detach()) for part in parts))
        self._optimizer.zero_grad()
        sum(w * part for w, part in zip((_POLICY, _VALUE, _SCORE, _OWNERSHIP), parts, strict=True)).backward()  # type: ignore[union-attr]
        self._optimizer.step()
        self.done += 1
        return loss

    def state(self) -> bytes:
        """Everything that `restore` needs."""
        buffer = io.BytesIO()
        parameters = [parameter.detach() for parameter in self._parameters()]
        torch.save({"done": self.done, "parameters": parameters, "optimizer": self._optimizer.state_dict()}, buffer)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from there. Raises ValueError where `state` is not that of such a training."""
        try:
            kept: dict[str, Any] = torch.load(io.BytesIO(state), map_location=self._options.device, weights_only=True)
            with torch.no_grad():
                for parameter, value in zip(self._parameters(), kept["parameters"], strict=True):
                    parameter.copy_(value)
            self._optimizer.load_state_dict(kept["optimizer"])
            self.done = int(kept["done"])
        except Exception as error:  # pickle, zip files and torch raise what they like at damaged bytes
            raise ValueError(str(error)) from error

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by learning rate."""
        options, kinds = self._options, self.student.groups()
        groups: list[dict[str, Any]] = []
        for weights, scales in kinds.weights:
            groups.append({"params": [weights]})
            self._rates.append(options.weight_rate * float(scales.detach().exp().mean()))
        for parameters, travel in (
            (kinds.biases, options.bias_travel),
            (kinds.map_scales, options.map_scale_travel),
            (kinds.weight_scales, options.weight_scale_travel),
        ):
            groups.append({"params": parameters})
            self._rates.append(options.rate(travel))
        return groups

    def _batch(self, step: int) -> _Batch:
        """Every epoch has its own order, drawn from the seed and its number."""
        per_epoch = sum(-(-len(group) // self._options.batch) for group in self._positions.groups)
        epoch, place = divmod(step, per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, _epoch(self._positions, self._options, epoch))
        return self._plan[1][place]


@dataclasses.dataclass(frozen=True)
class _Batch:
    group: int
    index: NDArray[np.intp]


def _epoch(positions: PositionSet, options: QatOptions, epoch: int) -> list[_Batch]:
    random = np.random.default_rng([options.seed, epoch])
    batches = []
    for number, group in enumerate(positions.groups):
        order = random.permutation(len(group))
        batches += [
            _Batch(number, order[start : start + options.batch]) for start in range(0, len(order), options.batch)
        ]
    return [batches[place] for place in random.permutation(len(batches))]


def _schedule(step: int, options: QatOptions) -> float:
    return min(1.0, (step + 1) / options.warmup) * (0.5 + 0.5 * math.cos(math.pi * step / options.steps))


def _losses(
    outputs: TorchOutputs, teacher: Outputs, group: Group, index: NDArray[np.intp], device: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wanted = TorchOutputs(*(torch.from_numpy(part[index]).to(device) for part in teacher))
    legal = torch.from_numpy(group.legal[index]).to(device)
    policy = _divergence(
        wanted.policy[:, 0].masked_fill(~legal, _ILLEGAL), outputs.policy[:, 0].masked_fill(~legal, _ILLEGAL)
    )
    if outputs.policy.shape[1] > 1:
        policy = policy + _SECOND_POLICY * _divergence(
            wanted.policy[:, 1].masked_fill(~legal, _ILLEGAL), outputs.policy[:, 1].masked_fill(~legal, _ILLEGAL)
        )
    ownership = functional.mse_loss(torch.tanh(outputs.ownership), torch.tanh(wanted.ownership))
    score = functional.smooth_l1_loss(outputs.score, wanted.score)
    return policy, _divergence(wanted.value, outputs.value), score, ownership


def _divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """Kullback-Leibler, in nats, of the distributions that two rows of logits stand for: cross-entropy to the teacher's
    soft targets less what the student cannot change."""
    log_wanted = functional.log_softmax(wanted, 1)
    return functional.kl_div(functional.log_softmax(logits, 1), log_wanted, reduction="batchmean", log_target=True)
