"""What we say we are, to clients that were written for KataGo.

`name` is KataGo and `version` begins with the version whose protocol we follow, because clients look for the one and
split the other on "." to learn which commands they may use. What follows says honestly who answers.
"""

from __future__ import annotations

from typing import Any

from agent import __version__
from agent.engine.messages import EngineReady

NAME = "KataGo"
# The release whose behaviour ours was compared with.
FOLLOWED_VERSION = "1.17.2"
# No dot after the third number: Ogatak takes a version of more than three parts for the very oldest.
VERSION = f"{FOLLOWED_VERSION}+katago-agent-{__version__.replace('.', '-')}"
GIT_HASH = f"katago-agent-{__version__}"

# What KataGo's two engines say on standard error when they can be asked; KataGoAnal waits for the second.
READY_LINES = {
    "gtp": "GTP ready, beginning main protocol loop",
    "analysis": "Started, ready to begin handling requests",
}


def models(ready: EngineReady | None) -> list[dict[str, Any]]:
    """The network as kata-get-models and query_models tell it; empty while none is loaded. Names hold no paths."""
    if ready is None:
        return []
    return [
        {
            "name": ready.network,
            "internalName": ready.network,
            "maxBatchSize": ready.batch,
            "usesHumanSLProfile": ready.has_human_sl,
            "version": ready.network_version,
            "usingFP16": "true" if ready.precision == "fp16" else "false",
        }
    ]
