"""What was tuned, in words: the lines of `agent why`, and the tables of `agent tune`. Pure; prints nothing."""

from __future__ import annotations

from agent.engine.tuning import MAIN_BOARD, SetAside, Timing, Tuned
from agent.workshop.tuned import MIB, Standing


def why_lines(standing: Standing) -> tuple[tuple[str, str], ...]:
    """Label and text: what runs and why, what each other contender reached, what was set aside."""
    if standing.timing is None:
        return (("Tuning", f"{_sentence(standing.reason)}"),)
    assert standing.tuned is not None
    chosen, tuned = standing.timing, standing.tuned
    found = [
        ("Tuned", f"{chosen.contender}, {chosen.way}"),
        ("Because", _because(chosen, tuned)),
        *((f"Not {lost.contender}", _sentence(lost.reason)) for lost in standing.passed_over),
    ]
    for timing in best_of_each(tuned):
        if timing.contender != chosen.contender and all(
            timing.contender != lost.contender for lost in standing.passed_over
        ):
            found.append((f"Not {timing.contender}", _lost(timing, chosen)))
    found += [(f"Set aside {lost.contender}", _sentence(lost.reason)) for lost in tuned.set_aside]
    return tuple(found)


def best_of_each(tuned: Tuned) -> list[Timing]:
    """The fastest timing of each contender, the fastest first."""
    best: dict[str, Timing] = {}
    for timing in tuned.timings:
        best.setdefault(f"{timing.contender.backend} {timing.contender.sha256}", timing)
    return list(best.values())


def boards(timing: Timing) -> str:
    """Evaluations/s on each board."""
    return ", ".join(f"{rate:.1f} at {board}" for board, rate in timing.evals_per_s.items())


def set_aside_rows(set_aside: tuple[SetAside, ...]) -> list[tuple[str, str]]:
    return [(str(lost.contender), lost.reason) for lost in set_aside]


def _because(chosen: Timing, tuned: Tuned) -> str:
    how = "every way was measured" if tuned.sweep == "all" else "the fastest of a race"
    memory = f", {chosen.peak_rss_bytes // MIB} MiB" if chosen.peak_rss_bytes else ""
    return f"Evaluations/s: {boards(chosen)}{memory}; {how} on {tuned.when}, in {tuned.taken_s:.0f} s."


def _lost(timing: Timing, chosen: Timing) -> str:
    rate, share = f"{timing.rate:.1f} evaluations/s at {MAIN_BOARD}", timing.rate / chosen.rate
    if share >= 1:
        return (
            f"{rate} are not worth {timing.threads * timing.batch} positions under way, or its memory ({timing.way})."
        )
    return f"{rate}, {share:.2f} of the chosen one's ({timing.way})."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
