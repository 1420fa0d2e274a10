"""From hardware to a profile: rules in YAML, a pure choice among them, and why the others lost.

Start reading at `choose.py`. Nothing here fetches a network or starts an engine.
"""

from __future__ import annotations

from agent.profile.choose import Choice, Rejected, choose, kept_positions
from agent.profile.load import load_profiles
from agent.profile.schema import Candidate, Limits, Profile, Rule
from agent.profile.support import Unsupported

__all__ = [
    "Candidate",
    "Choice",
    "Limits",
    "Profile",
    "Rejected",
    "Rule",
    "Unsupported",
    "choose",
    "kept_positions",
    "load_profiles",
]
