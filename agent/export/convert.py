"""From a KataGo network file to a file that the runtimes load. Start at `convert`.

The new file appears whole or not at all: it is written beside its place, proved by a run,
and only then takes its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from agent.errors import BackendUnavailable, ConversionFailed, StorageFull
from agent.events import Reporter, SilentReporter
from agent.export.emit import Form, best_form, emit
from agent.export.human_profile import profile_for
from agent.export.info import EXPORTER, GLOBAL_CHANNELS, SPATIAL_CHANNELS, NetworkInfo
from agent.export.parse import parse_network
from agent.export.session import open_session
from agent.model import disk

# Measured peaks (x86-64, ONNX Runtime 1.32): 88 MB for b6c96, 251 MB for b15c192, 516 MB for b18c384nbt, whose files
# are 3.8, 37 and 98 MB. Nearly all of it is the trial run, which loads the network as the engine will.
_BASE_BYTES = 70_000_000
_BYTES_PER_FILE_BYTE = 4.8

# A board that is not square, then the largest one.
_TRIAL_BOARDS = ((7, 9), (19, 19))
_MEMINFO = Path("/proc/meminfo")
# As other files of the store: anyone may read a network.
_FILE_MODE = 0o644


def convert(
    source: Path,
    out: Path,
    reporter: Reporter | None = None,
    *,
    form: Form | None = None,
    human_profile: str = "",
    meminfo: Path = _MEMINFO,
) -> NetworkInfo:
    """Convert the network file `source` to the ONNX file `out`; returns what `out` says about itself.

    Without `form` the faster one is chosen. A human-style network needs a `human_profile`, no other takes one.
    A failure leaves `out` and its folder as they were.

    Raises:
        NetworkFormatError: `source` is not a network that we can run.
        ConversionFailed: too little memory, or the result does not work on this machine.
        StorageFull: no room for `out`.
    """
    _require_memory(source, meminfo)
    try:
        with _new_file(out) as temporary:
            info = _write(source, temporary, form, human_profile, reporter or SilentReporter())
            _prove(temporary)
    except MemoryError as error:
        raise ConversionFailed(
            f"{source.name}: memory ran out", fix="Use a smaller network, or convert on a larger machine."
        ) from error
    return info


def _write(source: Path, out: Path, form: Form | None, human_profile: str, reporter: Reporter) -> NetworkInfo:
    network = parse_network(source)
    human_profile = profile_for(network, human_profile)
    form = form or best_form(network)
    info = msgspec.structs.replace(
        network.info, sha256=disk.sha256_of(source), form=form.value, exporter=EXPORTER, human_profile=human_profile
    )
    network = dataclasses.replace(network, info=info)
    with out.open("wb") as file:
        emit(network, form, file, reporter)
    return info


def _prove(model: Path) -> None:
    """Run the file as the engine will."""
    try:
        session = open_session(model)
        for y_size, x_size in _TRIAL_BOARDS:
            spatial = np.zeros((2, SPATIAL_CHANNELS, y_size, x_size), np.float32)
            spatial[:, 0] = 1.0
            outputs = session.run(spatial, np.zeros((2, GLOBAL_CHANNELS), np.float32))
            if not all(np.isfinite(output).all() for output in outputs):
                raise ConversionFailed(
                    f"{session.network.name}: the outputs on {y_size}×{x_size} are not finite",
                    fix="Use another network; the weights of this one are broken.",
                )
    except BackendUnavailable as error:
        raise ConversionFailed(f"the converted network does not run: {error}") from error


def _require_memory(source: Path, meminfo: Path) -> None:
    """Refuse before anything is read where the kernel would have to kill us half-way."""
    try:
        need_bytes = _BASE_BYTES + _BYTES_PER_FILE_BYTE * source.stat().st_size
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        have_bytes = sum(int(fields[key].split()[0]) << 10 for key in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError, IndexError):
        return  # parse_network names a missing source; a kernel that does not tell its memory is no reason to refuse
    if have_bytes < need_bytes:
        raise ConversionFailed(
            f"converting {source.name} takes {need_bytes / 1e6:.0f} MB of memory; {have_bytes / 1e6:.0f} MB are free",
            fix="Use a smaller network, stop other programs, or convert on a larger machine and copy the result.",
        )


@contextlib.contextmanager
def _new_file(out: Path) -> Iterator[Path]:
    """As `disk.new_file`, with errors that tell what helps here."""
    try:
        with disk.new_file(out) as temporary:
            yield temporary
            temporary.chmod(_FILE_MODE)
    except OSError as error:
        raise _storage_error(out, error) from error


def _storage_error(out: Path, error: OSError) -> StorageFull | ConversionFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"no room for {out}")
    return ConversionFailed(
        f"cannot write {out}: {error.strerror or error}", fix="Choose a folder that can be written to."
    )
