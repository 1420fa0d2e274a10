"""Which profile a machine gets, and why the others lost. A pure function of hardware, rules and one wish: whether an
owner's native `katago` is to run. Start reading at `choose`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agent.errors import HardwareUnsupported, NoProfileFits
from agent.hardware import Hardware, Unknown
from agent.profile.match import MIB, find_misses
from agent.profile.schema import Candidate, Profile, Rule, Threads
from agent.profile.support import Unsupported, find_unsupported

# A 19×19 entry of the evaluation cache: 2 bytes for each of 362 policy and 361 ownership values, 50 of scalars, and
# about 200 of hash node and reference count.
BYTES_PER_POSITION = 1700
# KataGo keeps 4-byte numbers: 1448 of policy, 1444 of ownership where somebody asked for it. 2.4 kB a visit were
# measured with both (3000 visits of b6c96 on 19×19, tree included).
NATIVE_BYTES_PER_POSITION = 3000
# How much of the usable memory an owner who asks for a larger cache than the profile's may give to it.
WISHED_CACHE_SHARE = 0.25


class Rejected(msgspec.Struct, frozen=True):
    """A profile, or a network of the chosen profile, that was not taken, and the sentence why."""

    name: str
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """The chosen profile, or None with `unsupported` or with a reason for every profile in `rejected`.

    `reason` says in a sentence why the profile was taken. `left_out` are networks of the profile that this machine has
    no room for. `assumed` are facts that could not be found out and were taken to be in order.
    """

    profile: Profile | None
    reason: str
    rejected: tuple[Rejected, ...] = ()
    left_out: tuple[Rejected, ...] = ()
    assumed: tuple[str, ...] = ()
    unsupported: Unsupported | None = None

    def require(self) -> Profile:
        """The profile. Raises HardwareUnsupported with its fix, or NoProfileFits."""
        if self.unsupported:
            raise HardwareUnsupported(f"unsupported: {self.unsupported.reason}", fix=self.unsupported.fix)
        if self.profile is None:
            raise NoProfileFits(self.reason)
        return self.profile


def choose(hardware: Hardware, profiles: Iterable[Rule], *, native: bool = False) -> Choice:
    """The matching rule of the highest priority, fitted to the machine. `native` says that an owner's katago is to run.

    Never raises; `Choice.require` does.
    """
    rules = sorted(profiles, key=lambda rule: (-rule.priority, rule.name))
    unsupported = find_unsupported(hardware)
    if unsupported:
        return Choice(None, unsupported.reason, unsupported=unsupported)
    chosen: Rule | None = None
    rejected: list[Rejected] = []
    for rule in rules:
        misses = _misses(rule, hardware, native)
        if misses:
            rejected.append(Rejected(rule.name, _sentence("; ".join(misses))))
        elif chosen is None:
            chosen = rule
        else:
            rejected.append(
                Rejected(rule.name, f"Fits too, but {chosen.name} goes before it: {chosen.priority} > {rule.priority}.")
            )
    if chosen is None:
        return Choice(None, "No profile fits this machine.", tuple(rejected), assumed=_assumed(hardware))
    fitting, left_out = _room(chosen, hardware)
    return Choice(
        _fit(chosen, fitting, hardware), _why(chosen, hardware), tuple(rejected), left_out, _assumed(hardware)
    )


def kept_positions(profile: Profile, wanted: int | None, hardware: Hardware) -> int:
    """Evaluations that the cache keeps: the profile's, or as many as the owner wants. More than the profile's only as
    far as a quarter of the usable memory holds them."""
    if wanted is None:
        return profile.cache_positions
    affordable = _affordable_positions(profile.engine, WISHED_CACHE_SHARE, hardware)
    return min(wanted, max(profile.cache_positions, affordable))


def _misses(rule: Rule, hardware: Hardware, native: bool) -> list[str]:
    misses = list(find_misses(rule.match, hardware))
    if misses:
        return misses
    if rule.engine == "native" and not native:
        return ["needs a native katago, and the built-in engine is what runs here"]
    fitting, left_out = _room(rule, hardware)
    return [] if fitting else [f"has no room: {network.name} {network.reason}" for network in left_out]


def _room(rule: Rule, hardware: Hardware) -> tuple[tuple[Candidate, ...], tuple[Rejected, ...]]:
    """The rule's networks that memory has room for, and the others with figures."""
    fitting: list[Candidate] = []
    left_out: list[Rejected] = []
    usable = hardware.memory.usable_bytes
    percent = rule.limits.memory_percent
    for candidate in rule.networks:
        reason = None if isinstance(usable, Unknown) else _shortage(candidate, usable // MIB, percent)
        if reason:
            left_out.append(Rejected(candidate.network, reason))
        else:
            fitting.append(candidate)
    return tuple(fitting), tuple(left_out)


def _shortage(candidate: Candidate, usable_mb: int, percent: float) -> str | None:
    if candidate.memory_mb > usable_mb * percent / 100:
        return f"needs {candidate.memory_mb} MiB, more than {percent:g} % of the {usable_mb} MiB of usable memory"
    if candidate.conversion_mb > usable_mb:
        return f"needs {candidate.conversion_mb} MiB to be converted, more than the {usable_mb} MiB of usable memory"
    return None


def _fit(rule: Rule, networks: tuple[Candidate, ...], hardware: Hardware) -> Profile:
    return Profile(
        name=rule.name,
        about=rule.about,
        engine=rule.engine,
        cfg=rule.cfg,
        networks=networks,
        threads=_threads(rule.threads, hardware),
        batch=rule.batch,
        visits=rule.visits,
        cache_positions=_cache_positions(rule, hardware),
        limits=rule.limits,
        fallback=rule.fallback,
    )


def _threads(threads: Threads, hardware: Hardware) -> int:
    cores = hardware.usable_cores
    if isinstance(cores, Unknown):
        return threads.min
    return min(threads.max, max(threads.min, cores - threads.spare_cores))


def _cache_positions(rule: Rule, hardware: Hardware) -> int:
    cache = rule.cache
    affordable = _affordable_positions(rule.engine, cache.memory_percent / 100, hardware)
    return min(cache.max_positions, max(cache.min_positions, affordable))


def _affordable_positions(engine: str, share: float, hardware: Hardware) -> int:
    """Evaluations that this share of the usable memory holds; 0 where nobody knows how much there is."""
    usable = hardware.memory.usable_bytes
    if isinstance(usable, Unknown):
        return 0
    return int(usable * share) // (NATIVE_BYTES_PER_POSITION if engine == "native" else BYTES_PER_POSITION)


def _why(rule: Rule, hardware: Hardware) -> str:
    """The conditions that hold, with this machine's figures."""
    match, facts = rule.match, []
    if rule.engine == "native":
        facts.append("a native katago is to run here")
    if match.family:
        facts.append(f"the board is a {hardware.board.family}")
    if match.soc:
        facts.append(f"its chip is {hardware.board.soc}")
    if match.architecture:
        facts.append(f"the architecture is {hardware.platform.architecture}")
    if match.jetpack and hardware.l4t:
        facts.append(f"JetPack is {hardware.l4t.jetpack} (L4T {hardware.l4t.release})")
    if match.instruction_sets:
        facts.append(f"every core has {', '.join(match.instruction_sets)}")
    if match.min_cores:
        facts.append(f"{hardware.usable_cores} usable cores are at least {match.min_cores}")
    usable = hardware.memory.usable_bytes
    if match.min_memory_mb and isinstance(usable, int):
        facts.append(f"{usable // MIB} MiB of usable memory are at least {match.min_memory_mb}")
    return _sentence(f"{rule.about}: " + ("; ".join(facts) or "it has no conditions"))


def _assumed(hardware: Hardware) -> tuple[str, ...]:
    """What a machine is refused for, where it could not be found out."""
    doubts: list[tuple[str, object]] = [
        ("the userland is 64-bit", hardware.platform.pointer_bits),
        ("Python is 3.10 or newer", hardware.platform.python),
        ("the C library is glibc 2.28 or newer", hardware.platform.libc),
        ("memory suffices for the smallest network", hardware.memory.usable_bytes),
    ]
    return tuple(_sentence(f"{what} ({fact.reason})") for what, fact in doubts if isinstance(fact, Unknown))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
