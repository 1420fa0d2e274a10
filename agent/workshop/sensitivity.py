"""What quantizing each layer alone costs, everything else in fp32. Start at `sensitivities`.

For a manifest and its reader, and for whoever chooses what stays in fp32 (`Recipe.exact`).
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.engine.backends.interface import Outputs
from agent.events import Reporter, WorkshopProgress
from agent.export.artifact import LayerSensitivity
from agent.export.network import Network
from agent.export.quantization import Quantization
from agent.workshop.accuracy import Differences, answers, differences
from agent.workshop.calibrate import QuantizedConvolutions
from agent.workshop.forward import ExactConvolutions, Forward, inputs_of
from agent.workshop.position_set import PositionSet


def sensitivities(
    network: Network, quantization: Quantization, positions: PositionSet, reporter: Reporter
) -> tuple[LayerSensitivity, ...]:
    """One for each quantized layer, on `positions`; as many walks as there are layers, so a few dozen positions are
    meant."""
    prepared = quantization.prepared(network)
    spatial, global_ = inputs_of(positions)
    exact = Forward(prepared, ExactConvolutions()).run((spatial,), (global_,))[0]
    found = []
    for done, name in enumerate(quantization.convs):
        reporter.report(WorkshopProgress(f"sensitivity of {network.info.name}", done, len(quantization.convs)))
        alone = QuantizedConvolutions(Quantization({name: quantization.convs[name]}))
        walked = Forward(prepared, alone).run((spatial,), (global_,))[0]
        apart = _differences(exact, walked, positions, network)
        found.append(LayerSensitivity(name, float(apart.kl.mean()), float(apart.win.mean()), "int8"))
    return tuple(found)


def _differences(
    exact: Sequence[Outputs], walked: Sequence[Outputs], positions: PositionSet, network: Network
) -> Differences:
    pieces = []
    for first, second, group in zip(exact, walked, positions.groups, strict=True):
        left, right = (answers(outputs, group, network.info) for outputs in (first, second))
        pieces.append(differences(left, right))
    return Differences.join(pieces)
