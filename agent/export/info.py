"""What a user of a network must know besides its graph. Travels inside the converted file as JSON.

No numpy and no onnx here: the worker, the protocols' tests and the front may import it.
"""

from __future__ import annotations

import msgspec

# Features of KataGo's input version 7, which file versions 8 to 17 all take.
SPATIAL_CHANNELS = 22
GLOBAL_CHANNELS = 19
VALUE_CHANNELS = 3

# Names what made a converted file: raise it whenever the same network would become a different graph.
EXPORTER = "2"

# The key of the JSON in the ONNX file's metadata_props.
METADATA_KEY = "katago_agent.network"


class NetworkInfo(msgspec.Struct, frozen=True):
    """One network, as its file's header tells. The defaults of the multipliers are KataGo's for files before version
    13, which do not hold them (desc.cpp, ModelPostProcessParams).

    `version` is the file format's; the meaning of score and policy channels depends on it (`engine/core/evaluation.h`).
    `sha256` is that of the source file, empty where there is none. `precision` names the weights' type in the graph.
    `policy_channels` is 1, 2 or 4; `score_channels` 4 (version 8) or 6.
    `form` is how convolutions are written in the graph, `exporter` what wrote it.
    `human_profile` names the players that a human-style network imitates (`human_profile.py`); empty for all others.
    `prefer_pass_alive` asks the feature encoder for pass-alive areas as if suicide were legal.
    """

    name: str
    version: int
    sha256: str = ""
    precision: str = "fp32"
    policy_channels: int = 1
    score_channels: int = 4
    td_multiplier: float = 20.0
    score_mean_multiplier: float = 20.0
    score_stdev_multiplier: float = 20.0
    lead_multiplier: float = 20.0
    variance_time_multiplier: float = 40.0
    shortterm_value_error_multiplier: float = 0.25
    shortterm_score_error_multiplier: float = 30.0
    prefer_pass_alive: bool = False
    form: str = ""
    exporter: str = ""
    human_profile: str = ""
