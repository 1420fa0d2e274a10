"""install.sh as a user meets it: run by a real shell in a copy of the tree, on machines that lack one thing or another.

A machine is a PATH: links to the real basic tools, and scripts in the place of Python and the compiler, whose answers
are the machine's. `Machine.python` plays the interpreter and pip's part and writes down what was asked of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakes.terminal import hear_hangup

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = """
    sh sed dirname id tr grep awk getconf mktemp rm find sha256sum sort cut cat cp mv cmp mkdir chmod env touch
"""

PYTHON = """\
#!/bin/sh
# The machine's Python: answers for version, userland and pip; sets up and installs by making the files that count.
case "$1" in
    -c)
        case "$2" in
            *ensurepip*) echo "{answer}" ;;
            *"import pip"*) [ -e "$0" ] && case "$0" in */bin/python) exit 0 ;; *) exit 1 ;; esac ;;
        esac ;;
    -) exec {real} - "$2" ;;
    --version) echo "Python fake" ;;
    -m)
        shift
        echo "$@" >>{log}
        case "$*" in
            venv*)
                for last in "$@"; do :; done
                rm -rf "$last"; mkdir -p "$last/bin"; touch "$last/pyvenv.cfg"; cp "$0" "$last/bin/python" ;;
            *" wheel "*) {pip_wheel}
                while [ "$1" != --wheel-dir ]; do shift; done
                mkdir -p "$2" "${{SKBUILD_BUILD_DIR%/*}}/tag"
                touch "$2/katago_agent-{version}-py3-none-linux_any.whl" ;;
            *"install --quiet --no-deps"*) {pip_install}
                printf '#!/bin/sh\\n{agent} echo "agent $*"\\n' >"${{0%python}}agent"; chmod +x "${{0%python}}agent" ;;
        esac ;;
esac
"""

CORE = b"int game;\n"
# The disk of whoever runs the tests decides nothing.
ROOMY = "echo head; echo /dev/x 100 90 10240000 90% /"


class Machine:
    """A folder with the tree's install.sh and what it reads, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.tree, self.log = folder / "bin", folder / "tree", folder / "asked"
        self.root = folder / "root"
        for made in (
            self.bin,
            self.tree / "agent/engine/core",
            self.tree / "profiles",
            self.tree / "systemd",
            self.root,
        ):
            made.mkdir(parents=True)
        for name in TOOLS.split():
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)
        for name in ("install.sh", "pyproject.toml", "CMakeLists.txt"):
            shutil.copy(REPOSITORY / name, self.tree / name)
        (self.tree / "agent" / "__init__.py").write_text("A = 1\n")
        (self.tree / "agent/engine/core/game.cpp").write_bytes(CORE)
        self.log.touch()
        self.python()
        self.script("df", ROOMY)
        self.script("g++", 'while [ "$1" != -o ]; do shift; done; touch "$2"')

    def script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def python(self, answer: str = "311 64 1 x86_64", name: str = "python3", **hooks: str) -> None:
        """Hooks are shell commands: pip_wheel and pip_install run before that is done, agent in the installed agent."""
        does = {"pip_wheel": "", "pip_install": "", "agent": "", **hooks}
        self.script(name, PYTHON.format(answer=answer, real=sys.executable, log=self.log, version=VERSION, **does))

    def systemd(self, active: str) -> None:
        """Root's machine with systemd, the service being in this state; what is asked of systemctl is logged."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.script("id", "echo 0")
        self.script("systemctl", f'echo "systemctl $*" >>{self.log}\n[ "$1" != is-active ] || echo {active}')

    def wheel(self, architecture: str = "x86_64", content: str = "A = 1\n", core: bytes = CORE) -> None:
        (self.tree / "dist").mkdir(exist_ok=True)
        path = self.tree / "dist" / f"katago_agent-{VERSION}-py3-none-manylinux_2_35_{architecture}.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("agent/__init__.py", content)
            listed = f"{hashlib.sha256(core).hexdigest()}  agent/engine/core/game.cpp\n"
            wheel.writestr("agent/engine/core/sources.sha256", listed)

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # --foreground: on a developer's machine with systemd and as root, nothing may be installed for real.
        arguments = arguments or ("run", "--foreground")
        base = {"PATH": str(self.bin), "HOME": str(self.tree), "KATAGO_AGENT_SYSROOT": str(self.root)}
        return subprocess.run(
            [str(self.tree / "install.sh"), *arguments],
            env=base | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=hear_hangup,
        )

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


def _version() -> str:
    text = (REPOSITORY / "pyproject.toml").read_text()
    return text.split('\nversion = "')[1].split('"')[0]


VERSION = _version()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refusal(machine: Machine, *arguments: str, **environment: str) -> tuple[str, str]:
    """What is wrong and the fix; nothing else may be said, and nothing may be left behind."""
    before = sorted(path.relative_to(machine.tree) for path in machine.tree.rglob("*"))
    done = machine.install(*arguments, **environment)
    assert done.returncode == 1, done
    wrong, fix = done.stderr.splitlines()
    assert wrong.startswith("install: ") and fix.startswith("fix: ")
    assert sorted(path.relative_to(machine.tree) for path in machine.tree.rglob("*")) == before
    return wrong.removeprefix("install: "), fix.removeprefix("fix: ")


# ---------------------------------------------------------------- refusals


def test_too_old_python_names_what_is_there_and_what_would_do(machine: Machine) -> None:
    machine.python("309 64 1 x86_64")
    wrong, fix = refusal(machine)
    assert wrong == "Python 3.10 to 3.14 is needed: python3 is 3.9"
    assert "Debian 12" in fix and fix.endswith(
        f": PYTHON=/path/to/python3.11 {machine.tree}/install.sh run --foreground"
    )


def test_what_is_advised_under_sudo_passes_through_sudo(machine: Machine, tmp_path: Path) -> None:
    machine.python("309 64 1 x86_64")
    machine.systemd("inactive")
    wrong, fix = refusal(machine, "run", SUDO_USER="pi", KATAGO_AGENT_PREFIX=f"{tmp_path}/a disk")
    command = f"KATAGO_AGENT_PREFIX='{tmp_path}/a disk' PYTHON=/path/to/python3.11 {machine.tree}/install.sh run"
    assert "python3 is 3.9" in wrong and fix.endswith(f": sudo {command}")
    # As root of a container, which often has no sudo.
    assert refusal(machine, "run", KATAGO_AGENT_PREFIX=f"{tmp_path}/a disk")[1].endswith(f": {command}")


def test_too_new_python_is_refused(machine: Machine) -> None:
    machine.python("315 64 1 x86_64")
    assert "python3 is 3.15" in refusal(machine)[0]


def test_another_python_on_the_path_is_taken_where_python3_is_too_old(machine: Machine) -> None:
    machine.python("309 64 1 x86_64")
    machine.python("312 64 1 x86_64", name="python3.12")
    done = machine.install()
    assert done.returncode == 0, done
    assert "Python 3.12 (python3.12)" in done.stdout


def test_no_python_at_all(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    machine.script("apt-get", "")
    assert refusal(machine) == ("there is no Python here", "sudo apt-get install -y python3 python3-venv")


def test_32_bit_userland_on_a_64_bit_kernel_names_the_64_bit_edition(machine: Machine) -> None:
    machine.python("311 32 1 aarch64")
    wrong, fix = refusal(machine)
    assert "32-bit userland" in wrong
    assert "64-bit edition" in fix


def test_everything_missing_is_one_command(machine: Machine) -> None:
    machine.python("311 64 0 x86_64")
    (machine.bin / "g++").unlink()
    machine.script("apt-get", "")
    wrong, fix = refusal(machine)
    assert wrong == "python3's venv module and a C++17 compiler are missing"
    assert fix == "sudo apt-get install -y python3-venv g++"


def test_missing_compiler_on_debian_and_on_fedora(machine: Machine) -> None:
    (machine.bin / "g++").unlink()
    machine.script("dnf", "")
    assert refusal(machine)[1] == "sudo dnf install -y gcc-c++ libstdc++-static"
    machine.script("apt-get", "")
    wrong, fix = refusal(machine)
    assert "C++17 compiler is missing" in wrong
    assert fix == "sudo apt-get install -y g++"


def test_a_compiler_that_cannot_compile_counts_as_missing(machine: Machine) -> None:
    machine.script("g++", "exit 1")
    assert "compiler is missing" in refusal(machine)[0]


def test_missing_venv_of_another_python_names_its_package(machine: Machine) -> None:
    machine.python("309 64 1 x86_64")
    machine.python("310 64 0 x86_64", name="python3.10")
    machine.script("apt-get", "")
    assert refusal(machine)[1] == "sudo apt-get install -y python3.10-venv"


def test_jetpack_5_is_told_to_take_jetpack_6(machine: Machine) -> None:
    (machine.root / "etc").mkdir()
    (machine.root / "etc/nv_tegra_release").write_text("# R35 (release), REVISION: 4.1\n")
    machine.python("308 64 1 aarch64", name="system-python")
    wrong, fix = refusal(machine, PYTHON=str(machine.bin / "system-python"))
    assert "JetPack 4 and 5 are too old" in wrong
    assert "JetPack 6" in fix


def test_a_full_disk_is_noticed_before_anything_is_made(machine: Machine) -> None:
    machine.script("df", "echo head; echo /dev/x 100 90 10240 90% /")
    wrong, fix = refusal(machine)
    assert "10 MB free" in wrong
    assert "KATAGO_AGENT_PREFIX" in fix


@pytest.mark.parametrize("name", ["save.sgf", ".hidden", "bin/python"], ids=["a file", "a hidden one", "a python"])
def test_a_folder_with_somebodys_files_is_refused_and_keeps_them(machine: Machine, tmp_path: Path, name: str) -> None:
    disk = tmp_path / "a disk"
    own = disk / name
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    wrong, fix = refusal(machine, KATAGO_AGENT_PREFIX=f"{disk}/")
    assert f"{disk}/ holds other files, such as " in wrong
    assert f"KATAGO_AGENT_PREFIX='{disk}/katago-agent' {machine.tree}/install.sh " in fix
    assert own.read_text() == "#!/bin/sh\n"
    assert machine.asked() == []
    done = machine.install(KATAGO_AGENT_PREFIX=f"{disk}/katago-agent")
    assert done.returncode == 0, done
    assert own.exists()


def test_a_broken_environment_is_made_anew_only_where_nothing_else_lies_in_it(machine: Machine) -> None:
    assert machine.install().returncode == 0
    venv = machine.tree / ".venv"
    (venv / "bin/python").unlink()
    (venv / "thesis.odt").write_text("mine")
    assert "thesis.odt" in refusal(machine)[0]
    (venv / "thesis.odt").rename(machine.tree / "thesis.odt")
    done = machine.install()
    assert done.returncode == 0, done
    assert sum(line.startswith("venv") for line in machine.asked()) == 2


def test_what_the_real_df_says_is_understood(machine: Machine) -> None:
    machine.script("df", f'exec {shutil.which("df")} "$@"')
    done = machine.install()
    assert done.returncode == 0 or re.search(r" has \d+ MB free", done.stderr), done


def test_an_empty_folder_on_a_full_disk_is_not_taken_for_an_environment(machine: Machine) -> None:
    (machine.tree / ".venv").mkdir()
    machine.script("df", "echo head; echo /dev/x 100 90 10240 90% /")
    assert "10 MB free" in refusal(machine)[0]
    machine.script("df", ROOMY)
    assert machine.install().returncode == 0


def test_an_unknown_command_names_the_known_ones(machine: Machine) -> None:
    assert refusal(machine, "launch") == ("unknown command 'launch'", "use run, test, dev or help")


# ---------------------------------------------------------------- setting up


def test_the_first_run_builds_and_starts_the_second_only_starts(machine: Machine) -> None:
    done = machine.install("run", "--once")
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-1] == "agent run --once"
    asked = machine.asked()
    assert any(" wheel " in line for line in asked)

    again = machine.install("run", "--once")
    assert again.returncode == 0, again
    assert "up to date" in again.stdout
    assert machine.asked() == asked


def test_a_changed_source_is_built_again(machine: Machine) -> None:
    machine.install()
    before = len(machine.asked())
    (machine.tree / "agent" / "__init__.py").write_text("A = 2\n")
    done = machine.install()
    assert done.returncode == 0, done
    assert any(" wheel " in line for line in machine.asked()[before:])
    assert not any(line.startswith("venv") for line in machine.asked()[before:])


def test_a_failed_build_is_told_and_done_again_next_time(machine: Machine) -> None:
    machine.python(pip_wheel="exit 1;")
    done = machine.install()
    assert done.returncode == 1
    assert f"fix: check the connection and the space on the disk, then again: {machine.tree}/install" in done.stderr
    assert not (machine.tree / ".venv/.katago-agent-setup").exists()
    machine.python()
    shutil.copy(machine.bin / "python3", machine.tree / ".venv/bin/python")
    assert machine.install().returncode == 0


@pytest.mark.parametrize(
    ("memory", "cores", "jobs"),
    [
        ("MemTotal:         447852 kB\nMemFree: 1 kB\n", 4, 2),
        ("MemTotal:  8245184 kB\n", 4, 4),
        ("", 4, 1),
        (None, 4, 1),
    ],
    ids=["Zero 2 W", "Pi 5", "an empty file", "an image's chroot without /proc"],
)
def test_as_many_files_are_compiled_at_once_as_memory_and_processors_allow(
    machine: Machine, memory: str | None, cores: int, jobs: int
) -> None:
    machine.script("getconf", f"echo {cores}")
    machine.python(pip_wheel=f'echo "jobs $CMAKE_BUILD_PARALLEL_LEVEL" >>{machine.log};')
    if memory is not None:
        (machine.root / "proc").mkdir()
        (machine.root / "proc/meminfo").write_text(memory)
    done = machine.install()
    assert done.returncode == 0 and done.stderr == "", done
    assert f"jobs {jobs}" in machine.asked()
    assert ("one file is compiled at a time" in done.stdout) == (not memory)


def test_a_wheel_beside_it_needs_no_compiler(machine: Machine) -> None:
    (machine.bin / "g++").unlink()
    machine.wheel()
    done = machine.install()
    assert done.returncode == 0, done
    assert "nothing to compile" in done.stdout
    assert not any(" wheel " in line for line in machine.asked())


def test_a_wheel_for_another_architecture_is_not_taken(machine: Machine) -> None:
    machine.wheel("aarch64")
    assert "nothing to compile" not in machine.install().stdout


@pytest.mark.parametrize("other", [{"content": "A = 0\n"}, {"core": b"int other;\n"}], ids=["python", "core"])
def test_a_wheel_of_other_sources_is_left_aside_and_said(machine: Machine, other: dict[str, Any]) -> None:
    machine.wheel(**other)
    done = machine.install()
    assert "left aside" in done.stdout
    assert any(" wheel " in line for line in machine.asked())


def test_on_a_jetson_the_environment_sees_the_systems_packages(machine: Machine) -> None:
    (machine.root / "etc").mkdir()
    (machine.root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")
    done = machine.install(PYTHON=str(machine.bin / "python3"))
    assert done.returncode == 0, done
    assert machine.asked()[0].startswith("venv --clear --system-site-packages")


def test_help_needs_nothing(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    done = machine.install("help")
    assert done.returncode == 0
    assert "./install.sh run" in done.stdout and "./install.sh test" in done.stdout


def test_it_runs_from_any_folder(machine: Machine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {"PATH": str(machine.bin), "HOME": str(elsewhere), "KATAGO_AGENT_SYSROOT": str(machine.root)}
    script = os.path.relpath(machine.tree / "install.sh", elsewhere)
    done = subprocess.run([script, "run", "--once"], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert (machine.tree / ".venv/.katago-agent-setup").exists()


# ---------------------------------------------------------------- the service


def systemctl(machine: Machine) -> list[str]:
    return [line.split()[1] for line in machine.asked() if line.startswith("systemctl ")]


def service(machine: Machine, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return machine.install("run", KATAGO_AGENT_PREFIX=str(tmp_path / "opt"))


def test_an_upgrade_stops_the_service_and_leaves_its_start_to_the_agent(machine: Machine, tmp_path: Path) -> None:
    machine.systemd("active")
    done = service(machine, tmp_path)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[-2:] == ["agent install --now", "agent status"]
    assert systemctl(machine) == ["is-active", "stop"]
    assert done.stderr == ""


def test_root_builds_the_service_without_a_trace_in_its_owners_clone(machine: Machine, tmp_path: Path) -> None:
    machine.systemd("inactive")
    before = sorted(machine.tree.rglob("*"))
    assert service(machine, tmp_path).returncode == 0
    assert sorted(machine.tree.rglob("*")) == before
    (tmp_path / "opt/bin/python").unlink()
    assert service(machine, tmp_path).returncode == 0, "what the build left is no reason to refuse the folder"


def test_what_root_once_built_in_the_clone_is_told_with_the_way_out(machine: Machine) -> None:
    machine.script("rm", 'for last in "$@"; do :; done; [ "$last" != build/wheel ] || exit 1; exec /bin/rm "$@"')
    done = machine.install()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"install: {machine.tree}/build is another user's",
        f"fix: sudo rm -r {machine.tree}/build",
    ]


@pytest.mark.parametrize(
    "hooks",
    [{"pip_install": "exit 1;"}, {"agent": '[ "$1" != install ] || exit 1;'}, {"pip_install": "kill -HUP $PPID;"}],
    ids=["pip fails", "the agent's own installation fails", "the connection breaks"],
)
def test_an_upgrade_that_fails_starts_the_service_again(
    machine: Machine, tmp_path: Path, hooks: dict[str, str]
) -> None:
    machine.systemd("active")
    machine.python(**hooks)
    done = service(machine, tmp_path)
    assert done.returncode in (1, 129), done
    assert systemctl(machine) == ["is-active", "stop", "start"]
    assert "systemctl start --no-block katago-agent" in machine.asked()
    assert "is started again" in done.stderr


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_service_that_was_down_stays_down_where_an_upgrade_fails(
    machine: Machine, tmp_path: Path, state: str
) -> None:
    machine.systemd(state)
    machine.python(pip_install="exit 1;")
    assert service(machine, tmp_path).returncode == 1
    assert systemctl(machine) == ["is-active"]


def test_a_status_that_fails_is_not_told_as_an_upgrade_that_failed(machine: Machine, tmp_path: Path) -> None:
    machine.systemd("activating")
    machine.python(agent='[ "$1" != status ] || exit 3;')
    done = service(machine, tmp_path)
    assert done.returncode == 3
    assert systemctl(machine) == ["is-active", "stop"]
