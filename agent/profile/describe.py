"""A choice in words: the lines of `agent why` and the one line of the start-up chain. Pure; prints nothing."""

from __future__ import annotations

from agent.profile.choose import Choice
from agent.profile.schema import Profile


def summary(choice: Choice) -> str:
    """One line: the profile and why it was taken, or why there is none."""
    if choice.profile is None:
        return f"unsupported: {choice.reason}" if choice.unsupported else choice.reason
    return f"{choice.profile.name}: {choice.reason}"


def lines(choice: Choice) -> tuple[tuple[str, str], ...]:
    """Everything about a choice as label and text: what was taken and why, what it sets, and why each other lost."""
    found = []
    if choice.unsupported:
        found += [("Unsupported", choice.unsupported.reason), ("Fix", choice.unsupported.fix)]
    elif choice.profile is None:
        found += [("Profile", choice.reason)]
    else:
        found += [("Profile", choice.profile.name), ("Why", choice.reason), *_settings(choice.profile)]
    found += [(f"Not network {out.name}", f"It {out.reason}.") for out in choice.left_out]
    found += [("Taken for granted", text) for text in choice.assumed]
    found += [(f"Not {lost.name}", lost.reason) for lost in choice.rejected]
    return tuple(found)


def _engine(profile: Profile) -> str:
    if profile.engine == "builtin":
        return profile.engine
    instead = "the built-in engine serves when it fails" if profile.fallback else "nothing serves when it fails"
    return f"{profile.engine}, {profile.cfg}; {instead}"


def _settings(profile: Profile) -> tuple[tuple[str, str], ...]:
    networks = ", then ".join(f"{n.network} ({n.precision}, {n.runtime})" for n in profile.networks)
    limits = profile.limits
    return (
        ("Engine", _engine(profile)),
        ("Networks", networks),
        ("Threads", str(profile.threads)),
        ("Batch", str(profile.batch)),
        ("Visits", f"{profile.visits}, at most {limits.max_time_s:g} s"),
        ("Cache", f"{profile.cache_positions} positions"),
        ("Memory", f"at most {limits.memory_percent:g} % of what is usable"),
    )
