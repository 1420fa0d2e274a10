"""The fleet as a table for people. The only file here that knows rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from agent.fleet.state import DOWN, UP, View

_STYLES = {UP: "green", DOWN: "red"}
# Measurement → heading, and how its number is written.
_COLUMNS = (
    ("engine.visits_per_s", "visits/s", "{:.1f}"),
    ("engine.evaluations_per_s", "evals/s", "{:.1f}"),
    ("engine.queue", "queue", "{:.0f}"),
    ("engine.latency_p95_s", "p95 s", "{:.2f}"),
    ("host.cpu_percent", "CPU %", "{:.0f}"),
    ("host.temperature_c", "°C", "{:.0f}"),
)


def table(devices: Sequence[View], broker: str) -> Table:
    """One row for each device, and in the caption the sum."""
    up = sum(device.agent == UP for device in devices)
    result = Table(title=f"devices on {broker}", caption=f"{up} of {len(devices)} up", box=box.SIMPLE_HEAD)
    for heading in ("device", "agent", "engine"):
        result.add_column(heading, no_wrap=True)
    # What is cut where a terminal is narrow.
    result.add_column("network", no_wrap=True, overflow="ellipsis", max_width=24)
    for _, heading, _ in _COLUMNS:
        result.add_column(heading, justify="right", no_wrap=True)
    if any(_notes(device) for device in devices):
        result.add_column("notes")
    for device in devices:
        result.add_row(*_row(device))
    return result


def _row(device: View) -> list[Text]:
    agent = f"{device.agent}, silent {device.silent_s:.0f} s" if device.stale else device.agent
    cells = [
        Text(device.device_id),
        Text(agent, style="yellow" if device.stale else _STYLES.get(device.agent, "dim")),
        Text(device.engine, style=_STYLES.get(device.engine, "dim")),
        Text(device.facts.get("network", "")),
    ]
    for name, _, form in _COLUMNS:
        value = device.values.get(name)
        # A stale device's numbers are history.
        cells.append(Text("" if value is None or device.agent != UP else form.format(value)))
    return [*cells, Text(_notes(device))] if _notes(device) else cells


def _notes(device: View) -> str:
    notes = [*device.alarms.values(), device.reason if device.engine == DOWN else ""]
    return "; ".join(dict.fromkeys(note for note in notes if note))
