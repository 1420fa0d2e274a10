"""A benchmark's result as a table for people."""

from __future__ import annotations

from rich.table import Table

from agent.engine.bench import BenchResult


def table(result: BenchResult) -> Table:
    """One row for each figure, the best way to run the network marked."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    shown = Table(title=f"{result.network} on {result.backend} ({versions})" if versions else result.network)
    shown.add_column("Measured")
    shown.add_column("Figure", justify="right")
    for raw in result.raw:
        shown.add_row(f"network alone, {raw.way}", f"{raw.evals_per_s:.1f} evaluations/s")
    shown.add_section()
    shown.add_row("network alone, best", f"{result.evals_per_s:.1f} evaluations/s")
    shown.add_row(
        f"search, {result.threads} threads, batch {result.batch}, {result.positions} positions",
        f"{result.visits_per_s:.1f} visits/s",
    )
    shown.add_row("network evaluations in search", f"{result.search_evals_per_s:.1f} evaluations/s")
    shown.add_row("search efficiency", f"{result.search_efficiency:.3f}")
    counts = f"{result.visits} / {result.evaluations} / {result.cache_hits} / {result.terminal}"
    shown.add_row("visits / evaluations / cache hits / terminal", counts)
    shown.add_row("peak memory of this process", f"{result.peak_rss_bytes / 1e6:.0f} MB")
    if result.native is not None:
        native = result.native
        shown.add_section()
        shown.add_row(
            f"native katago {native.version}, {native.threads} threads", f"{native.visits_per_s:.1f} visits/s"
        )
        shown.add_row("ours ÷ native", f"{native.ratio:.2f}")
        shown.add_row("peak memory of native katago", f"{native.peak_rss_bytes / 1e6:.0f} MB")
    return shown
