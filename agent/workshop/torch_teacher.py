"""What the fp32 network says of the training positions: computed once, kept on the disk. Needs the extra "qat"."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.engine.backends.interface import Outputs
from agent.events import Reporter, WorkshopProgress
from agent.export.network import Network
from agent.export.publish import storage_errors
from agent.export.quantization import UNREADABLE
from agent.model.disk import write_atomically
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.torch_network import TorchNetwork, TorchOutputs

_BATCH = 8


def teacher_answers(
    network: Network, positions: PositionSet, folder: Path, device: str, reporter: Reporter
) -> list[Outputs]:
    """Raw outputs of `network` by the groups of `positions`, from a file in `folder` where an earlier run left it.

    Raises:
        StorageFull, StoreUnwritable: the file cannot be written.
        ConversionFailed: see `TorchNetwork`.
    """
    key = hashlib.sha256(f"{network.info.sha256} {positions.sha256()}".encode()).hexdigest()[:16]
    path = folder / f"teacher-{key}.npz"
    kept = _read(path, positions)
    if kept is not None:
        return kept
    answers = _compute(network, positions, device, reporter)
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {}
    for number, outputs in enumerate(answers):
        arrays |= {f"{number}.{name}": part for name, part in outputs._asdict().items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    with storage_errors(path):
        write_atomically(path, buffer.getvalue())
    return answers


def to_tensors(group: Group, index: NDArray[np.intp], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What `TorchNetwork` takes, of the positions at `index`."""
    spatial = torch.from_numpy(group.spatial[index].astype(np.float32))
    return spatial.to(device), torch.from_numpy(group.global_[index]).to(device)


def _compute(network: Network, positions: PositionSet, device: str, reporter: Reporter) -> list[Outputs]:
    module = TorchNetwork(network).to(device)
    done, answers = 0, []
    with torch.no_grad():
        for group in positions.groups:
            pieces = []
            for start in range(0, len(group), _BATCH):
                reporter.report(WorkshopProgress("asking the teacher", done, len(positions)))
                index = np.arange(start, min(start + _BATCH, len(group)))
                outputs: TorchOutputs = module(*to_tensors(group, index, device))
                pieces.append([part.cpu().numpy() for part in outputs])
                done += len(index)
            answers.append(Outputs(*(np.concatenate(parts) for parts in zip(*pieces, strict=True))))
    return answers


def _read(path: Path, positions: PositionSet) -> list[Outputs] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [_group(arrays, number) for number in range(len(positions.groups))]
    except UNREADABLE:
        return None  # not there, or damaged: it is computed again


def _group(arrays: Mapping[str, NDArray[Any]], number: int) -> Outputs:
    return Outputs(*(np.asarray(arrays[f"{number}.{name}"], np.float32) for name in Outputs._fields))
