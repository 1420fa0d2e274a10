"""What machine this is, and how it feels: detection once (`detect`), samples of heat, throttling and load (`Sampler`).

All of it reads files below a root that can be replaced; nothing here decides anything or knows of profiles.
"""

from __future__ import annotations

from agent.hardware.detect import Hardware, detect
from agent.hardware.platform import Platform
from agent.hardware.sample import Sample, Sampler, sample
from agent.hardware.unknown import Probe, Unknown

__all__ = ["Hardware", "Platform", "Probe", "Sample", "Sampler", "Unknown", "detect", "sample"]
