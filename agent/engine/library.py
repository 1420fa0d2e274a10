"""Finds and loads the compiled core. The functions and structures declared here are those of `core/core_api.h`."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from agent.errors import CoreMissing

LIBRARY = Path(__file__).parent / "core" / "libkatago_agent_core.so"

# Must equal KA_ABI_VERSION of core_api.h.
ABI_VERSION = 4

Int32s = ctypes.POINTER(ctypes.c_int32)
Bytes = ctypes.POINTER(ctypes.c_uint8)
# An address of floats, such as `array.ctypes.data` gives; the front has no numpy to name a better type with.
Floats = ctypes.c_void_p


class CRules(ctypes.Structure):
    """KaRules: each field an index into the value lists of `rules.py`, or a flag."""

    _fields_ = (
        ("ko", ctypes.c_int32),
        ("scoring", ctypes.c_int32),
        ("tax", ctypes.c_int32),
        ("suicide", ctypes.c_int32),
        ("has_button", ctypes.c_int32),
        ("handicap_bonus", ctypes.c_int32),
        ("friendly_pass", ctypes.c_int32),
    )


class CGameState(ctypes.Structure):
    """KaGameState."""

    to_play: int
    encore_phase: int
    move_count: int
    ko_point: int
    captured_black: int
    captured_white: int
    finished: int
    no_result: int
    past_phase_end: int
    has_button: int
    handicap_stones: int
    handicap_bonus: float
    komi: float
    _fields_ = (
        ("to_play", ctypes.c_int32),
        ("encore_phase", ctypes.c_int32),
        ("move_count", ctypes.c_int32),
        ("ko_point", ctypes.c_int32),
        ("captured_black", ctypes.c_int32),
        ("captured_white", ctypes.c_int32),
        ("finished", ctypes.c_int32),
        ("no_result", ctypes.c_int32),
        ("past_phase_end", ctypes.c_int32),
        ("has_button", ctypes.c_int32),
        ("handicap_stones", ctypes.c_int32),
        ("handicap_bonus", ctypes.c_float),
        ("komi", ctypes.c_float),
    )


class CEncodeOptions(ctypes.Structure):
    """KaEncodeOptions."""

    _fields_ = (
        ("conservative_pass_and_is_root", ctypes.c_int32),
        ("enable_passing_hacks", ctypes.c_int32),
        ("max_history", ctypes.c_int32),
        ("playout_doubling_advantage", ctypes.c_double),
        ("draw_equivalent_wins_for_white", ctypes.c_double),
    )


class CPostParams(ctypes.Structure):
    """KaPostParams."""

    _fields_ = (
        ("version", ctypes.c_int32),
        ("policy_channels", ctypes.c_int32),
        ("score_channels", ctypes.c_int32),
        ("score_mean_multiplier", ctypes.c_float),
        ("score_stdev_multiplier", ctypes.c_float),
        ("lead_multiplier", ctypes.c_float),
        ("variance_time_multiplier", ctypes.c_float),
        ("shortterm_value_error_multiplier", ctypes.c_float),
        ("shortterm_score_error_multiplier", ctypes.c_float),
    )


class CEvaluation(ctypes.Structure):
    """KaEvaluation."""

    white_win: float
    white_loss: float
    no_result: float
    white_score_mean: float
    white_score_mean_sq: float
    white_lead: float
    var_time_left: float
    shortterm_winloss_error: float
    shortterm_score_error: float
    _fields_ = (
        ("white_win", ctypes.c_float),
        ("white_loss", ctypes.c_float),
        ("no_result", ctypes.c_float),
        ("white_score_mean", ctypes.c_float),
        ("white_score_mean_sq", ctypes.c_float),
        ("white_lead", ctypes.c_float),
        ("var_time_left", ctypes.c_float),
        ("shortterm_winloss_error", ctypes.c_float),
        ("shortterm_score_error", ctypes.c_float),
    )


class CFinish(ctypes.Structure):
    """KaFinish; buffers are −1 for none."""

    bias: int | None
    next_scale: int | None
    next_bias: int | None
    column: int
    activation: int
    accumulate: int
    next: int
    next_activation: int
    _fields_ = (
        ("bias", Floats),
        ("next_scale", Floats),
        ("next_bias", Floats),
        ("column", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("next", ctypes.c_int32),
        ("next_activation", ctypes.c_int32),
    )


class CConvolution(ctypes.Structure):
    """KaConvolution."""

    _fields_ = (
        ("weights", Floats),
        ("in_channels", ctypes.c_int32),
        ("out_channels", ctypes.c_int32),
        ("y_size", ctypes.c_int32),
        ("x_size", ctypes.c_int32),
        ("y_dilation", ctypes.c_int32),
        ("x_dilation", ctypes.c_int32),
    )


class CAttention(ctypes.Structure):
    """KaAttention."""

    _fields_ = (
        ("query", ctypes.c_int32),
        ("key", ctypes.c_int32),
        ("value", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("key_heads", ctypes.c_int32),
        ("query_channels", ctypes.c_int32),
        ("value_channels", ctypes.c_int32),
        ("frequencies", Floats),
    )


@functools.cache
def load() -> ctypes.CDLL:
    """The core, loaded once. Calls release the GIL.

    Raises:
        CoreMissing: see `open_library`.
    """
    return open_library(LIBRARY)


def open_library(path: Path, abi_version: int = ABI_VERSION) -> ctypes.CDLL:
    """The core at `path`, which must have interface `abi_version`.

    Raises:
        CoreMissing: the library is absent, does not load here, or is of another version than this package.
    """
    try:
        core = ctypes.CDLL(str(path))
        core.ka_abi_version.restype = ctypes.c_int32
        version = core.ka_abi_version()
    except (OSError, AttributeError) as error:
        raise CoreMissing(f"the compiled core cannot be loaded: {error}") from error
    if version != abi_version:
        raise CoreMissing(f"the compiled core has interface {version}, this package needs {abi_version}")
    _declare(core)
    return core


def _declare(core: ctypes.CDLL) -> None:
    pointer, int32, boolean = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    float32 = ctypes.c_float
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "ka_game_new": (pointer, (int32, int32, ctypes.POINTER(CRules), float32)),
        "ka_game_copy": (pointer, (pointer,)),
        "ka_game_free": (None, (pointer,)),
        "ka_game_set_komi": (None, (pointer, float32)),
        "ka_game_set_pass_alive_under_suicide": (None, (pointer, int32)),
        "ka_game_add_stones": (boolean, (pointer, Int32s, Int32s, int32)),
        "ka_game_restart": (boolean, (pointer, int32)),
        "ka_game_is_legal": (boolean, (pointer, int32, int32)),
        "ka_game_is_legal_tolerant": (boolean, (pointer, int32, int32)),
        "ka_game_is_legal_ignoring_ko": (boolean, (pointer, int32, int32, int32)),
        "ka_game_play": (int32, (pointer, Int32s, Int32s, int32, int32)),
        "ka_game_legal_moves": (None, (pointer, int32, Bytes)),
        "ka_game_state": (None, (pointer, ctypes.POINTER(CGameState))),
        "ka_game_stones": (None, (pointer, Bytes)),
        "ka_game_final_white_score": (float32, (pointer,)),
        "ka_game_final_area": (None, (pointer, Bytes)),
        "ka_game_pass_alive_area": (None, (pointer, Bytes)),
        "ka_game_ladders": (None, (pointer, Bytes)),
        "ka_game_hash": (None, (pointer, ctypes.POINTER(ctypes.c_uint64))),
        "ka_encode": (boolean, (pointer, int32, ctypes.POINTER(CEncodeOptions), int32, Floats, Floats)),
        "ka_post_process": (
            boolean,
            (
                *(pointer, int32, ctypes.POINTER(CPostParams), float32, int32),
                *(Floats, Floats, Floats, Floats),
                *(ctypes.POINTER(CEvaluation), Floats, Floats),
            ),
        ),
    }
    finish, window = ctypes.POINTER(CFinish), ctypes.POINTER(CConvolution)
    signatures |= {
        "ka_network_new": (pointer, (int32,)),
        "ka_network_free": (None, (pointer,)),
        "ka_network_kernels": (ctypes.c_char_p, (int32,)),
        "ka_network_buffer": (int32, (pointer, int32, int32)),
        "ka_network_convolution": (boolean, (pointer, int32, int32, window, finish)),
        "ka_network_product": (boolean, (pointer, int32, int32, int32, int32, Floats, finish)),
        "ka_network_affine": (boolean, (pointer, int32, int32, Floats, Floats, int32)),
        "ka_network_rms": (boolean, (pointer, int32, int32, ctypes.c_float, int32, Floats, Floats, int32)),
        "ka_network_times": (boolean, (pointer, int32, int32)),
        "ka_network_attention": (boolean, (pointer, int32, ctypes.POINTER(CAttention))),
        "ka_network_pool": (boolean, (pointer, int32, int32, int32)),
        "ka_network_outputs": (boolean, (pointer, int32, int32, int32, int32, int32)),
        "ka_network_run": (boolean, (pointer, int32, int32, int32, Floats, Floats, Floats, Floats, Floats, Floats)),
    }
    signatures["ka_peak"] = (ctypes.c_double, (int32, ctypes.c_double))
    for name, (result, arguments) in signatures.items():
        function = getattr(core, name)
        function.restype = result
        function.argtypes = arguments
