"""What the running interpreter and kernel say of themselves, or what a filesystem root lets one conclude about them.

These facts come from system calls on the running system; for another root they are read from its interpreter's ELF
header, its package database and its links. A 64-bit kernel may carry a 32-bit userland (Raspberry Pi OS did so for
years): uname and cpuinfo then say aarch64, so the interpreter's pointer size decides and nothing else.
"""

from __future__ import annotations

import os
import re
import struct
import sys

import msgspec

from agent.hardware.root import Root, in_words
from agent.hardware.unknown import Probe, Unknown

# Debian's full package database is 3 to 10 MB on a desktop.
PACKAGE_DATABASE_BYTES = 64 * 1024 * 1024
# e_ident is 16 bytes, then e_type and e_machine of 2 each, in 32-bit and 64-bit files alike.
ELF_START_BYTES = 20

# e_machine of the ELF specification → the names that we use.
_ELF_MACHINES = {0x03: "x86", 0x28: "arm", 0x3E: "x86-64", 0xB7: "arm64", 0xF3: "riscv64"}
_DEBIAN_ARCHITECTURES = {"arm64": "arm64", "armhf": "arm", "armel": "arm", "amd64": "x86-64", "i386": "x86"}
_UNAME_64 = {"aarch64": "arm64", "x86_64": "x86-64", "riscv64": "riscv64"}
_UNAME_32 = {"aarch64": "arm", "x86_64": "x86"}
_POINTER_BITS = {"x86-64": 64, "arm64": 64, "riscv64": 64, "arm": 32, "x86": 32}
_LOADERS = {
    "/lib/ld-linux-aarch64.so.1": "arm64",
    "/lib64/ld-linux-x86-64.so.2": "x86-64",
    "/lib/ld-linux-armhf.so.3": "arm",
    "/lib/ld-linux.so.3": "arm",
    "/lib/ld-linux.so.2": "x86",
}
_PROGRAMS = ("/usr/bin/python3", "/bin/sh", "/sbin/init", "/usr/bin/env")


class Platform(msgspec.Struct, frozen=True):
    """`architecture` is that of the userland: x86-64, arm64, arm, x86, riscv64 or what uname says."""

    architecture: Probe[str]
    pointer_bits: Probe[int]
    page_bytes: Probe[int]
    python: Probe[str]
    libc: Probe[str]
    storage_free_bytes: Probe[int]
    schedulable_cores: Probe[int]

    @classmethod
    def current(cls) -> Platform:
        """Of this process."""
        bits = struct.calcsize("P") * 8
        machine = os.uname().machine
        names = _UNAME_64 if bits == 64 else _UNAME_32
        return cls(
            architecture=names.get(machine, "arm" if machine.startswith("arm") else machine),
            pointer_bits=bits,
            page_bytes=os.sysconf("SC_PAGE_SIZE"),
            python=".".join(str(part) for part in sys.version_info[:3]),
            libc=_running_libc(),
            storage_free_bytes=_storage_free(Root()),
            schedulable_cores=len(os.sched_getaffinity(0)),
        )

    @classmethod
    def from_root(cls, root: Root) -> Platform:
        """Of the system installed under `root`, as far as its files tell."""
        packages = root.read("/var/lib/dpkg/status", PACKAGE_DATABASE_BYTES)
        architecture = _installed_architecture(root, packages)
        no_call = Unknown("only the running system can tell")
        return cls(
            architecture=architecture,
            pointer_bits=architecture if isinstance(architecture, Unknown) else _POINTER_BITS[architecture],
            page_bytes=no_call,
            python=_installed_python(root, packages),
            libc=_installed_libc(packages),
            storage_free_bytes=_storage_free(root),
            schedulable_cores=no_call,
        )


def _running_libc() -> str:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")  # "glibc 2.36"
    except (OSError, ValueError):
        return "not glibc"
    return name or "not glibc"


def _storage_free(root: Root) -> Probe[int]:
    """Free bytes where the state folder will be, for an unprivileged writer."""
    path = next((path for path in ("/var/lib", "/var", "/") if root.exists(path)), "/")
    real = root.real_path(path)
    if isinstance(real, Unknown):
        return real
    try:
        answer = os.statvfs(real)
    except OSError as error:
        return Unknown(f"{path}: {in_words(error)}")
    return answer.f_bavail * answer.f_frsize


def _installed_architecture(root: Root, packages: bytes | Unknown) -> Probe[str]:
    """The first of: a program's ELF header, Debian's package database, the one dynamic loader, the distribution."""
    for path in _PROGRAMS:
        header = root.read_start(path, ELF_START_BYTES)
        if isinstance(header, bytes) and len(header) == ELF_START_BYTES and header[:4] == b"\x7fELF":
            machine = _ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))
            if machine:
                return machine
    named = _package_field(packages, "dpkg", "Architecture")
    if named in _DEBIAN_ARCHITECTURES:
        return _DEBIAN_ARCHITECTURES[named]
    main = root.read_line("/var/lib/dpkg/arch")
    if isinstance(main, str) and main in _DEBIAN_ARCHITECTURES:
        return _DEBIAN_ARCHITECTURES[main]
    loaders = {name for path, name in _LOADERS.items() if root.exists(path)}
    if len(loaders) == 1:
        return loaders.pop()
    release = root.read_text("/etc/os-release")
    if isinstance(release, str) and re.search(r"^ID=\"?raspbian", release, re.MULTILINE):
        return "arm"  # Raspbian exists for 32 bits only; the 64-bit Raspberry Pi OS calls itself debian.
    return Unknown(f"no program with an ELF header in {', '.join(_PROGRAMS)}, no package database, no dynamic loader")


def _installed_python(root: Root, packages: bytes | Unknown) -> Probe[str]:
    """From /usr/bin/python3's link ("python3.11"), with the patch level where the package database has it."""
    target = root.link_target("/usr/bin/python3")
    if isinstance(target, Unknown):
        return target
    match = re.fullmatch(r"(?:.*/)?python(3\.[0-9]{1,3})", target)
    if not match:
        return Unknown(f"/usr/bin/python3: leads to {target!r}, which names no version")
    version = _package_field(packages, f"python{match[1]}", "Version") or ""
    patch = re.match(r"3\.[0-9]+\.[0-9]+", version)
    return patch[0] if patch else match[1]


def _installed_libc(packages: bytes | Unknown) -> Probe[str]:
    if isinstance(packages, Unknown):
        return packages
    version = re.match(r"[0-9]+\.[0-9]+", _package_field(packages, "libc6", "Version") or "")
    return f"glibc {version[0]}" if version else Unknown("/var/lib/dpkg/status: holds no libc6")


def _package_field(packages: bytes | Unknown, package: str, field: str) -> str | None:
    """A field of one stanza of Debian's package database."""
    if isinstance(packages, Unknown):
        return None
    start = re.search(rb"(?:^|\n)Package: " + re.escape(package.encode()) + rb"\n", packages)
    if not start:
        return None
    end = packages.find(b"\n\n", start.end())
    stanza = packages[start.end() : end if end >= 0 else None]
    found = re.search(rb"(?:^|\n)" + field.encode() + rb": ([^\n]{1,100})", stanza)
    return found[1].decode("utf-8", "replace") if found else None
