"""Every error that may leave a part of the agent. Each one tells the user what to do about it.

AgentError
├── ConfigError              a configuration, profile or catalogue file is wrong
├── HardwareUnsupported      this machine cannot run the agent; says why and what would
├── NoProfileFits            no profile accepts this machine
├── InstallError             a step of `agent install` that failed; the steps before it stay done
├── ModelError
│   ├── SourceUnreachable    an address did not answer; another source or network may
│   ├── DownloadCorrupt      bytes arrived that are not the network the catalogue names
│   ├── CatalogueWrong       the file is the one that was published, but the catalogue's SHA-256 is not its own
│   ├── StorageFull          the disk has no room; nothing was changed
│   ├── StoreUnwritable      the state folder cannot be written, for another reason than room
│   ├── NetworkMissing       the network in use, or its converted file, is not in the store
│   ├── StoreDamaged         a stored network is no longer what its manifest says
│   └── StoreBusy            another process holds the store
├── NetworkFormatError       a network file that we cannot read; names the part
├── ConversionFailed         a network was read but does not become a file that runs here
├── WorkshopError
│   ├── ToolMissing          an optional package that a format needs is not installed
│   ├── CalibrationError     positions that cannot be read, or too few of them
│   ├── JournalUnusable      the journal of resumable work cannot be written, or another process writes it
│   ├── CheckpointRefused    a training run that cannot go on from what lies on the disk
│   ├── PlayerFailed         a GTP engine of a match does not start, or fails game after game
│   └── GateRefused          an artifact whose answers are too far from its reference's
├── EngineError
│   ├── RulesError           a rule set that cannot be parsed
│   ├── IllegalMove          a move that the rules forbid
│   ├── CoreMissing          the compiled core is not there or does not load
│   ├── BackendUnavailable   a network runtime that is missing or does not work here
│   ├── TuningDamaged        what `agent tune` remembered cannot be read
│   ├── TuneFailed           nothing that was to be measured works on this machine
│   ├── BenchFailed          a benchmark, or the native engine beside it, gave no result
│   ├── NativeFailed         the owner's katago does not start, died, hangs or cannot load the network
│   ├── NativeGarbage        the owner's katago answers what no KataGo answers
│   └── EngineDown           the worker is gone and will not be started again by itself
├── ServiceError
│   ├── ServiceDown          the agent's service or one of its sockets does not answer
│   ├── FrontRunning         another daemon uses the same state folder
│   ├── AddressTaken         a socket that the daemon should open is in use or not ours to open
│   ├── ProofFailed          `agent run --once` did not get its move or its metric
│   ├── CommandRefused       a GTP command that is answered with "?"
│   ├── QueryRefused         an analysis query that is answered with an error; names the field
│   └── SettingRefused       a setting of --override-config, kata-set-param or overrideSettings with a bad value
├── ClientError              what `agent.client` raises when an engine gives no answer
│   ├── EngineUnreachable    no engine is there, or the connection broke and could not be opened again
│   ├── AnswerUnreadable     somebody is there who does not speak KataGo's analysis protocol
│   ├── AnalysisRefused      the engine does not take the query; names the field
│   ├── AnalysisFailed       the engine took the query and could not answer it
│   ├── AnalysisTerminated   the query was ended before it was looked at
│   ├── AnalysisTimeout      no answer in the time that was given
│   └── ClientClosed         the client was used before it was opened or after it was closed
├── RecordUnreadable         a game record that is no game of Go which we can replay
└── TelemetryError
    └── BrokerUnreachable    the MQTT broker does not answer
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


class AgentError(Exception):
    """Base of the family. `str()` is what went wrong; `fix` is what the user can do, in one sentence."""

    fix: str = ""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        if fix:
            self.fix = fix

    def explain(self) -> str:
        """What the command line says: the error, and the fix in a second line; our commands as they were called."""
        return as_called(f"{command_name()}: {self}" + (f"\nfix: {self.fix}" if self.fix else ""))


def command_name() -> str:
    """What our command is called here: with the service there is `katago-agent` alone."""
    called = Path(sys.argv[0]).name if sys.argv else ""
    return "katago-agent" if called.startswith("katago-agent") else "agent"


def as_called(text: str) -> str:
    """`text` with the commands that it advises under the name by which ours was called."""
    return text.replace("`agent ", f"`{command_name()} ")


def pip_install(requirement: str, *, python: str = sys.executable, prefix: str = sys.prefix) -> str:
    """The command line that adds a package to the Python that runs here. A bare `pip` is missing or refused where
    Python is the system's (PEP 668), or serves another Python; and only this one's knows our extras."""
    sudo = "" if os.access(prefix, os.W_OK) else "sudo "
    return f"{sudo}{shlex.quote(python)} -m pip install {shlex.quote(requirement)}"


def install_extra(extra: str) -> str:
    """The fix where a package of one of our optional groups is missing."""
    return f"Run `{pip_install(f'katago-agent[{extra}]')}`."


class ConfigError(AgentError):
    fix = "Correct the named key in the file; the README lists every key."


class HardwareUnsupported(AgentError):
    fix = "Use a 64-bit Linux with Python 3.10 or newer; docs/profiles.md lists the boards."


class NoProfileFits(AgentError):
    fix = "Run `agent why` to see why each profile was refused."


class InstallError(AgentError):
    fix = "Mend that and run `agent install` again; it goes on where it stopped."


class ModelError(AgentError):
    pass


class SourceUnreachable(ModelError):
    fix = (
        "Check the connection, or bring a network's file: `agent pull FILE.bin.gz` (for the service: with sudo), and "
        "name it as `network` in agent.yaml."
    )


class DownloadCorrupt(ModelError):
    fix = "Run `agent pull` again; the bad bytes were thrown away."


class StorageFull(ModelError):
    fix = "Free some space or set `state_dir` to a larger disk, then run the same command again."


class CatalogueWrong(ModelError):
    fix = "Pull another network and report this one; its entry in networks.yaml needs correcting."


class StoreUnwritable(ModelError):
    fix = "Make the state folder writable for this user, or set `state_dir` to another one."


class StoreDamaged(ModelError):
    fix = "Run `agent pull NAME`; it replaces the network, and removes its converted form, where they are damaged."


class NetworkMissing(ModelError):
    fix = "Run `agent pull`, or `agent run`, which pulls and converts what this machine needs."


class StoreBusy(ModelError):
    fix = "Wait for the other agent to finish, or stop it."


class NetworkFormatError(AgentError):
    fix = "Use a network of file versions 8 to 17 with ordinary, gpool, nested-bottleneck or transformer blocks."


class ConversionFailed(AgentError):
    fix = "Run `agent doctor`, and report the network's name if the runtime is well."


class WorkshopError(AgentError):
    pass


class ToolMissing(WorkshopError):
    fix = "Install the named package for the Python that runs the agent; `agent doctor` tells which one that is."


class CalibrationError(WorkshopError):
    fix = "Give an SGF folder with more games, or let `agent positions` play some."


class JournalUnusable(WorkshopError):
    fix = "Wait for the other process, or name another file; a full disk needs room first."


class CheckpointRefused(WorkshopError):
    fix = "Give another --out, or remove the named file to start anew."


class PlayerFailed(WorkshopError):
    fix = "Run that command by itself: it must speak GTP on its standard input and output, such as `genmove b`."


class GateRefused(WorkshopError):
    fix = "Export again with more calibration positions or another precision; `agent verify` shows where it fails."


class EngineError(AgentError):
    pass


class RulesError(EngineError):
    fix = "Use a rule name such as chinese, japanese or tromp-taylor, or an object of KataGo's rule keys."


class IllegalMove(EngineError):
    fix = "Play another point or pass."


class CoreMissing(EngineError):
    fix = "Run ./install.sh again; it compiles the core or takes a wheel that holds it."


class BackendUnavailable(EngineError):
    fix = "Run `agent doctor`; it names the package that is missing."


class TuningDamaged(EngineError):
    fix = "Run `agent tune`; it makes the file anew."


class TuneFailed(EngineError):
    fix = "Run `agent doctor`; it checks the engine link by link."


class BenchFailed(EngineError):
    fix = "Check the path after --against, or leave it out; `agent doctor` checks our own engine."


class NativeFailed(EngineError):
    """`is_hopeless` tells that another start would end the same way."""

    fix = "Check engine.path in agent.yaml with `agent doctor`; KataGo's Compiling.md tells how to build one."

    def __init__(self, message: str, *, fix: str = "", is_hopeless: bool = False) -> None:
        super().__init__(message, fix=fix)
        self.is_hopeless = is_hopeless


class NativeGarbage(EngineError):
    fix = "Use a KataGo of version 1.11 or newer; engine.path in agent.yaml names it."


class EngineDown(EngineError):
    fix = "See `agent status` and the service log; restart with `systemctl restart katago-agent`."


class ServiceError(AgentError):
    pass


class ServiceDown(ServiceError):
    fix = "Start it with `agent run` or `systemctl start katago-agent`; `agent status` tells how it is."


class FrontRunning(ServiceError):
    fix = "Stop it first (`systemctl stop katago-agent`), or give this one its own `state_dir` in agent.yaml."


class AddressTaken(ServiceError):
    fix = "Stop what listens there, or set another address in agent.yaml."


class ProofFailed(ServiceError):
    fix = "Run `agent doctor`; it checks each link of the chain."


class CommandRefused(ServiceError):
    fix = "Send the command as GTP and KataGo's GTP extensions describe it."


class QueryRefused(ServiceError):
    """`field` is the query's field that is wrong, as the reply names it."""

    fix = "Send the query as KataGo's Analysis_Engine.md describes it."

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SettingRefused(ServiceError):
    fix = "Give the setting a value of the kind and range that KataGo's example configurations name."


class ClientError(AgentError):
    pass


class EngineUnreachable(ClientError):
    fix = "Check the address or the command, and that the engine starts; `agent run` starts a service."


class AnswerUnreadable(ClientError):
    fix = "Give the address or the command of an analysis engine: `agent analysis`, `katago analysis`, not `gtp`."


class AnalysisRefused(ClientError):
    """`field` is the query's field that is wrong, as the engine names it; empty where it could not read the query."""

    fix = "Correct the query's field; KataGo's Analysis_Engine.md describes each."

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class AnalysisFailed(ClientError):
    fix = "Look at what the engine logged; `agent status` tells how a running agent is."


class AnalysisTerminated(ClientError):
    fix = "Ask again; something terminated the query."


class AnalysisTimeout(ClientError):
    fix = "Ask for fewer visits, or allow more time."


class ClientClosed(ClientError):
    fix = "Use the client inside its `with` block."


class RecordUnreadable(AgentError):
    fix = "Give an SGF file of a game of Go; the text names what is wrong with this one."


class TelemetryError(AgentError):
    pass


class BrokerUnreachable(TelemetryError):
    fix = "Check mqtt.host and mqtt.port in agent.yaml, and that the broker runs."
