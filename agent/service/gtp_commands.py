"""The table of GTP commands, in KataGo's order, and those that tell of the program itself. `gtp.py` runs them.

What of KataGo's list is missing here, and why, is in docs/decisions/0008-answers-as-katago.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from agent.errors import CommandRefused
from agent.service import gtp_benchmark, gtp_end, gtp_jobs, gtp_params, gtp_setup, gtp_sgf, gtp_time
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import Job
from agent.service.gtp_state import GtpState
from agent.service.identity import NAME, VERSION
from agent.service.outputs import Send

Answer: TypeAlias = Callable[[GtpState, list[str]], str]
Start: TypeAlias = Callable[[GtpState, list[str], Reply, str], Job]


def _protocol_version(state: GtpState, args: list[str]) -> str:
    del state, args
    return "2"


def _name(state: GtpState, args: list[str]) -> str:
    del state, args
    return NAME


def _version(state: GtpState, args: list[str]) -> str:
    del args
    if state.options.version:
        return state.options.version
    ready = state.ready()
    return f"{VERSION}+{ready.network}" if ready is not None else VERSION


def _known_command(state: GtpState, args: list[str]) -> str:
    del state
    if len(args) != 1:
        raise CommandRefused(f"Expected single argument for known_command but got '{' '.join(args)}'")
    return "true" if args[0] in COMMANDS else "false"


def _list_commands(state: GtpState, args: list[str]) -> str:
    del state, args
    return "\n".join(COMMANDS)


def _nothing(state: GtpState, args: list[str]) -> str:
    """For `stop`: any line ends analysis, and the connection ends pondering; for `quit` and `clear_cache`, which it
    carries out."""
    del state, args
    return ""


# Answered at once.
ANSWERS: dict[str, Answer] = {
    "protocol_version": _protocol_version,
    "name": _name,
    "version": _version,
    "known_command": _known_command,
    "list_commands": _list_commands,
    "quit": _nothing,
    "boardsize": gtp_setup.boardsize,
    "rectangular_boardsize": gtp_setup.boardsize,
    "clear_board": gtp_setup.clear_board,
    "set_position": gtp_setup.set_position,
    "komi": gtp_setup.komi,
    "get_komi": gtp_setup.get_komi,
    "play": gtp_setup.play,
    "undo": gtp_setup.undo,
    "kata-get-rules": gtp_setup.kata_get_rules,
    "kata-set-rule": gtp_setup.kata_set_rule,
    "kata-set-rules": gtp_setup.kata_set_rules,
    "kata-get-models": gtp_params.kata_get_models,
    "kata-get-param": gtp_params.kata_get_param,
    "kata-set-param": gtp_params.kata_set_param,
    "kata-list-params": gtp_params.kata_list_params,
    "kgs-rules": gtp_setup.kgs_rules,
    "clear_cache": _nothing,
    "showboard": gtp_setup.showboard,
    "fixed_handicap": gtp_setup.fixed_handicap,
    "set_free_handicap": gtp_setup.set_free_handicap,
    "time_settings": gtp_time.time_settings,
    "kgs-time_settings": gtp_time.kgs_time_settings,
    "time_left": gtp_time.time_left,
    "kata-list_time_settings": gtp_time.kata_list_time_settings,
    "kata-time_settings": gtp_time.kata_time_settings,
    "loadsgf": gtp_sgf.loadsgf,
    "kata-raw-human-nn": gtp_jobs.kata_raw_human_nn,
    "cputime": gtp_time.cputime,
    "gomill-cpu_time": gtp_time.cputime,
    "kata-debug-print-tc": gtp_time.kata_debug_print_tc,
    "stop": _nothing,
}

# Answered when the engine has said what they ask.
JOBS: dict[str, Start] = {
    "genmove": gtp_jobs.genmove,
    "kata-search": gtp_jobs.genmove,
    "kata-search_cancellable": gtp_jobs.genmove,
    "place_free_handicap": gtp_jobs.place_free_handicap,
    "final_score": gtp_end.final_score,
    "final_status_list": gtp_end.final_status_list,
    "printsgf": gtp_sgf.printsgf,
    # Neither "analyze" nor "genmove_analyze": Sabaki prefers them and then misreads the win rate.
    "lz-genmove_analyze": gtp_jobs.genmove_analyze,
    "kata-genmove_analyze": gtp_jobs.genmove_analyze,
    "kata-search_analyze": gtp_jobs.genmove_analyze,
    "kata-search_analyze_cancellable": gtp_jobs.genmove_analyze,
    "lz-analyze": gtp_jobs.analyze,
    "kata-analyze": gtp_jobs.analyze,
    "kata-raw-nn": gtp_jobs.kata_raw_nn,
    "kata-benchmark": gtp_benchmark.kata_benchmark,
}

# Served as by KataGo, which lists neither.
UNLISTED: dict[str, Answer] = {
    "kata-get-params": gtp_params.kata_get_params,
    "kata-set-params": gtp_params.kata_set_params,
}

# Jobs that the next line ends, whatever it is, and how their replies end then.
INTERRUPTED: dict[str, Callable[[Reply], Send]] = {
    "lz-analyze": lambda reply: reply.end(),
    "kata-analyze": lambda reply: reply.end(),
    "kata-search_cancellable": lambda reply: reply.ok("cancelled"),
    "kata-search_analyze_cancellable": lambda reply: reply.after_header("play cancelled"),
}

COMMANDS = (*ANSWERS, *JOBS)
