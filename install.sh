#!/bin/sh
# Sets up katago-agent from a clone, then runs or tests it.
#
#   ./install.sh run [OPTIONS]   set up and start: as root with systemd the service, otherwise `agent run` right here
#   ./install.sh test [ARGS]     set up and run the test suite (ARGS go to pytest)
#   ./install.sh                 set up only (as root with systemd: and start the service)
#   ./install.sh dev             set up with the tools that `make check` needs
#
# With any OPTIONS (such as --once, --visits 50 or --foreground) `run` stays in this terminal.
# Runs again in seconds, also without a network. KATAGO_AGENT_PREFIX names another folder for the virtual environment
# (default: .venv here, /opt/katago-agent for the service), a new, an empty or its own; PYTHON names the interpreter.
set -eu

MIN_MINOR=10 # Python 3.10 is JetPack 6's
MAX_MINOR=14
# The venv takes 255 MB (measured on x86-64), b15c192 37 MB and 157 MB converted, beside the 64 MB package that it may
# come out of. The rest is for cmake, ninja and what pip unpacks meanwhile. b18c384nbt needs more; the agent asks itself.
NEED_MB=800
# For tests and development PyTorch and the other tools of the workshop come in: 1.2 GB, and their archives meanwhile.
NEED_MB_TOOLS=3000

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
root=${KATAGO_AGENT_SYSROOT:-} # the tests' fake root; only the board, its memory and systemd are looked up there
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

say() { printf '%s\n' "install: $*"; }
die() { # one line that says what is wrong, one that says what to do
    printf '%s\n' "install: $1" "fix: $2" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
again() { # [VARIABLE VALUE] -> the command that does the same once more, with that variable; sudo hands none down
    with=''
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then with='sudo '; fi
    for name in KATAGO_AGENT_PREFIX PYTHON; do
        eval "value=\${$name:-}"
        [ "$name" != "${1:-}" ] || value=$2
        case $value in
            '') ;;
            *[!A-Za-z0-9_./-]*) with="$with$name='$value' " ;;
            *) with="$with$name=$value " ;;
        esac
    done
    printf '%s\n' "$with$0$given"
}
packages() { # the command of this system that installs $1 (Debian's names)
    names=$1
    if have apt-get; then echo "sudo apt-get install -y $names"
    elif have dnf; then
        echo "sudo dnf install -y $(echo "$names" | sed 's/g++/gcc-c++ libstdc++-static/; s/python3[.0-9]*-venv/python3/')"
    elif have apk; then echo "sudo apk add $(echo "$names" | sed 's/python3[.0-9]*-venv/python3/')"
    else echo "install $names with this system's package tool"; fi
}

# ---------------------------------------------------------------- what this machine has

is_l4t() {
    tree=$root/proc/device-tree/compatible
    [ -e "$root/etc/nv_tegra_release" ] || { [ -r "$tree" ] && tr '\0' '\n' <"$tree" | grep -q '^nvidia,tegra'; }
}

probe() { # PYTHON -> "minor bits ensurepip architecture", or nothing where it does not run
    "$1" -c '
import struct, sys, platform
try:
    import ensurepip, venv
    pip = 1
except ImportError:
    pip = 0
print(sys.version_info[0] * 100 + sys.version_info[1], struct.calcsize("P") * 8, pip, platform.machine())' 2>/dev/null
}

find_python() { # sets python, pip_ok, machine; refuses what cannot work
    candidates=${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python3.14}
    # JetPack's TensorRT module belongs to the system's interpreter.
    if is_l4t && [ -z "${PYTHON:-}" ]; then candidates=/usr/bin/python3; fi
    python='' seen='' bits=''
    for candidate in $candidates; do
        answer=$(probe "$candidate") || continue
        [ -n "$answer" ] || continue
        # shellcheck disable=SC2086
        set -- $answer
        seen="$seen $candidate is $(($1 / 100)).$(($1 % 100)),"
        if [ "$1" -ge "3$MIN_MINOR" ] && [ "$1" -le "3$MAX_MINOR" ]; then
            python=$candidate minor=$(($1 % 100)) bits=$2 pip_ok=$3 machine=$4
            break
        fi
    done
    if [ -z "$python" ]; then
        if is_l4t; then
            die "JetPack 4 and 5 are too old: this agent needs Python 3.$MIN_MINOR (${seen# } and its modules belong to it)" \
                "flash JetPack 6 or newer (Orin and later), or use another board; see docs/jetson.md"
        fi
        [ -n "$seen" ] || die "there is no Python here" "$(packages 'python3 python3-venv')"
        die "Python 3.$MIN_MINOR to 3.$MAX_MINOR is needed:${seen%,}" \
            "upgrade to Debian 12, Ubuntu 22.04 or newer, or name another: $(again PYTHON /path/to/python3.11)"
    fi
    if [ "$bits" != 64 ]; then
        die "this is a $bits-bit userland (Python on $machine), for which no network runtime exists" \
            "install the 64-bit edition of the system (Raspberry Pi OS (64-bit) runs on Zero 2 W, 3, 4 and 5)"
    fi
}

compiles() { # is there a C++ compiler that builds what we build?
    for compiler in ${CXX:-c++ g++ clang++}; do
        have "$compiler" || continue
        out=$(mktemp) || return 1
        if echo 'int main(){}' | "$compiler" -std=c++17 -static-libstdc++ -x c++ - -o "$out" 2>/dev/null; then
            rm -f "$out"
            return 0
        fi
        rm -f "$out"
    done
    return 1
}

same_sources() { # WHEEL: was it made of this tree's Python files and C++ sources?
    "$python" - "$1" <<'EOF'
import hashlib, pathlib, sys, zipfile
core = "agent/engine/core"
files = sorted(p for p in pathlib.Path(core).glob("*") if p.suffix in (".cpp", ".h"))
hashes = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.as_posix()}\n" for p in files).encode()
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = {n for n in wheel.namelist() if n.startswith("agent/") and n.endswith(".py")}
    here = {p.as_posix() for p in pathlib.Path("agent").rglob("*.py")}
    same = names == here and all(wheel.read(n) == pathlib.Path(n).read_bytes() for n in names)
    sys.exit(not (same and sorted(wheel.read(f"{core}/sources.sha256").splitlines()) == sorted(hashes.splitlines())))
EOF
}

find_wheel() { # sets wheel to a prebuilt one that fits, or to nothing
    wheel=''
    for candidate in dist/katago_agent-"$version"-py3-none-*"$machine".whl katago_agent-"$version"-py3-none-*"$machine".whl; do
        [ -f "$candidate" ] || continue
        if same_sources "$candidate"; then
            wheel=$candidate
            return 0
        fi
        say "$candidate is not of this tree's sources: left aside"
    done
}

check_venv() { # `venv --clear` empties the folder, and pip fills it: nobody else's files may lie there
    set --
    if [ -e "$venv/pyvenv.cfg" ]; then
        has_pip && return 0
        set -- bin build include lib lib64 share pyvenv.cfg .gitignore "${stamp##*/}"
    fi
    for other in "$venv"/* "$venv"/.[!.]* "$venv"/..?*; do
        [ -e "$other" ] || [ -L "$other" ] || continue # a pattern that matched nothing
        for ours in "$@"; do [ "${other##*/}" != "$ours" ] || continue 2; done
        die "$venv holds other files, such as $other" \
            "move them away, or name a new folder: $(again KATAGO_AGENT_PREFIX "${venv%/}/katago-agent")"
    done
}

has_pip() { "$venv/bin/python" -c 'import pip' 2>/dev/null; }

check_machine() {
    find_python
    wheel=''
    [ "$extras" != '' ] || find_wheel # tests and development are about the tree, never about an older wheel
    missing=''
    if [ "$pip_ok" != 1 ] && [ ! -x "$venv/bin/pip" ]; then missing="$missing python3-venv"; fi
    if [ -z "$wheel" ] && ! compiles; then missing="$missing g++"; fi
    if [ -n "$missing" ]; then
        case $missing in
            *venv*g++*) what="python3's venv module and a C++17 compiler are missing" ;;
            *venv*) what="python3's venv module is missing" ;;
            *) what="a C++17 compiler is missing, and no wheel for $machine lies beside install.sh" ;;
        esac
        [ "$python" = python3 ] || missing=$(echo "$missing" | sed "s/python3-venv/python3.$minor-venv/")
        die "$what" "$(packages "${missing# }")"
    fi
    parent=$venv
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    [ -w "$parent" ] ||
        die "cannot write to $parent" "clone into a folder of your own, or: $(again KATAGO_AGENT_PREFIX /path/to/a/folder)"
    check_venv
    if [ ! -e "$venv/pyvenv.cfg" ]; then
        free_mb=$(($(df -Pk "$parent" | awk 'NR==2 {print $4}') / 1024))
        need_mb=$NEED_MB
        [ "$extras" = '' ] || need_mb=$NEED_MB_TOOLS
        [ "$free_mb" -ge "$need_mb" ] ||
            die "$parent has $free_mb MB free, $need_mb are needed" \
                "free some space, or name a new folder on a larger disk: $(again KATAGO_AGENT_PREFIX /path/to/a/folder)"
    fi
}

# ---------------------------------------------------------------- set up

fingerprint() { # changes when anything that gets installed changes
    {
        find agent profiles systemd CMakeLists.txt pyproject.toml -type f ! -name '*.pyc' ! -name '*.so' ! -name '.*' \
            -exec sha256sum {} + | sort
        [ ! -x "$venv/bin/python" ] || "$venv/bin/python" --version
    } | sha256sum | cut -d' ' -f1
}

covered() { # does the recorded set of extras ($1) hold the wanted one?
    [ "$1" = dev ] || [ "$1" = "$extras" ] || [ "$extras" = '' ]
}

set_up() {
    stamp=$venv/.katago-agent-setup # written last: "fingerprint extras"
    was='' had=none
    if [ -f "$stamp" ]; then read -r was had <"$stamp" || true; fi
    if [ -x "$venv/bin/agent" ] && [ "$was" = "$(fingerprint)" ] && covered "$had"; then
        say "$venv is up to date"
        return 0
    fi
    check_machine
    say "Python 3.$minor ($python), $machine; setting up $venv"
    if ! has_pip; then
        site='' && if is_l4t; then site=--system-site-packages; fi
        # shellcheck disable=SC2086
        "$python" -m venv --clear $site "$venv"
    fi
    rm -f "$stamp"
    if [ -n "$wheel" ]; then
        say "taking $wheel, nothing to compile"
    else
        say "building the core (a minute or two on a PC, more on a board)"
        build_tools
        # A compiler takes up to 176 MB (g++ 12, measured): one at a time on a Zero 2 W, four on a Pi with 1 GB or more.
        memory_kb=$(awk '/^MemTotal/ {print $2}' "$root/proc/meminfo" 2>/dev/null) || true
        [ -n "$memory_kb" ] || say "no /proc/meminfo here tells of the memory: one file is compiled at a time"
        jobs=$((${memory_kb:-0} / 220000))
        cores=$(getconf _NPROCESSORS_ONLN)
        [ "$jobs" -le "$cores" ] || jobs=$cores
        [ "$jobs" -ge 1 ] || jobs=1
        CMAKE_BUILD_PARALLEL_LEVEL=$jobs && export CMAKE_BUILD_PARALLEL_LEVEL
        build=build
        # Root's files in the clone would stop its owner's next build.
        if [ "$service" = yes ]; then build=$venv/build; fi
        rm -rf "$build/wheel" || die "$here/build is another user's" "sudo rm -r $here/build"
        SKBUILD_BUILD_DIR="$build/{wheel_tag}" && export SKBUILD_BUILD_DIR
        run_pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build/wheel" .
        wheel=$(echo "$build"/wheel/katago_agent-*.whl)
    fi
    if covered "$had" && [ "$had" != none ]; then extras=$had; fi
    if [ "$service" = yes ]; then pause_service; fi
    say "installing the agent and what it needs"
    run_pip install "$wheel${extras:+[$extras]}"
    # Same version, other sources: pip would keep what is there.
    run_pip install --quiet --no-deps --force-reinstall "$wheel"
    echo "$(fingerprint) $extras" >"$stamp"
    say "set up in $venv"
}

build_tools() { # kept in the venv, so that a rebuild needs no network
    tools=scikit-build-core
    have cmake || tools="$tools cmake"
    have ninja || tools="$tools ninja"
    # shellcheck disable=SC2086
    run_pip install --quiet $tools
    PATH=$venv/bin:$PATH && export PATH
}

run_pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check "$@" ||
        die "pip could not finish (its own lines above say why)" \
            "check the connection and the space on the disk, then again: $(again)"
}

place_core() { # tests and development import the tree: give it the core that was just built
    core=agent/engine/core/libkatago_agent_core.so
    built=$(echo "$venv"/lib/python3.*/site-packages/$core)
    cmp -s "$built" $core || { cp "$built" $core.new && mv $core.new $core; }
}

use_venv() { venv=${KATAGO_AGENT_PREFIX:-$1}; }

# ---------------------------------------------------------------- the service

wants_service() { [ "$(id -u)" = 0 ] && [ -d "$root/run/systemd/system" ]; }

pause_service() { # it must not find half of two versions; however this ends, what was up comes up again
    case $(systemctl is-active katago-agent 2>/dev/null) in
        active | activating | reloading) ;;
        *) return 0 ;;
    esac
    trap resume_service EXIT
    trap 'exit 129' HUP # an ssh connection that broke
    trap 'exit 130' INT
    trap 'exit 143' TERM
    systemctl stop katago-agent || true
}

resume_service() { # pip had the old version whole until the new one was there; which of them it is now, runs
    if systemctl start --no-block katago-agent; then
        printf '%s\n' "install: not finished; katago-agent, stopped meanwhile, is started again" >&2
    fi
}

start_service() {
    service=yes
    umask 022 # the service's user reads what root installs
    use_venv /opt/katago-agent
    set_up
    "$venv/bin/agent" install --now # starts it
    trap - EXIT HUP INT TERM
    "$venv/bin/agent" status
}

# ---------------------------------------------------------------- the commands

given=${*:+ $*}
command=${1:-setup}
[ $# -eq 0 ] || shift
extras='' service=no
case $command in
    run)
        if wants_service && [ $# -eq 0 ]; then
            start_service
            exit
        fi
        [ "${1:-}" != --foreground ] || shift
        use_venv "$here/.venv"
        set_up
        exec "$venv/bin/agent" run "$@"
        ;;
    setup)
        if wants_service; then
            start_service
            exit
        fi
        use_venv "$here/.venv"
        set_up
        say "start it with: ./install.sh run   (or $venv/bin/agent run)"
        ;;
    test)
        extras="test"
        use_venv "$here/.venv"
        set_up
        place_core
        exec "$venv/bin/python" -m pytest "$@"
        ;;
    dev)
        extras="dev"
        use_venv "$here/.venv"
        set_up
        place_core
        say "check everything with: make check"
        ;;
    help | -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "$0" ;;
    *) die "unknown command '$command'" "use run, test, dev or help" ;;
esac
