"""A client for KataGo's JSON analysis engine: our service, or a native `katago analysis`. Imports without the engine.

    from agent.client import AnalysisClient, Query

    with AnalysisClient("tcp://raspberrypi:4641") as client:
        analysis = client.analyze(Query(moves=(("B", "Q16"), ("W", "D4")), rules="japanese", max_visits=200))
        print(analysis.best.move, analysis.root_info.winrate)

`AsyncAnalysisClient` is the same for asyncio. Both take the address of a service (`tcp://`, `tls://`, `unix://`,
`ws://`, `wss://`), or the command of an engine as a list: `["katago", "analysis", "-model", …]`. Everything that comes
back is from Black's side. Start reading at `asynchronous.py`; `conversation.py` holds the protocol.
"""

from agent.client.asynchronous import AsyncAnalysisClient
from agent.client.endpoints import Endpoint, Retries, Stdio, Tcp, Unix, WebSocket, endpoint_of
from agent.client.query import MoveLimit, Query
from agent.client.results import Analysis, EngineVersion, EngineWarning, Model, MoveInfo, RootInfo
from agent.client.stream import AnalysisStream
from agent.client.synchronous import AnalysisClient, SyncAnalysisStream
from agent.errors import (
    AnalysisFailed,
    AnalysisRefused,
    AnalysisTerminated,
    AnalysisTimeout,
    AnswerUnreadable,
    ClientClosed,
    ClientError,
    EngineUnreachable,
)

__all__ = [
    "Analysis",
    "AnalysisClient",
    "AnalysisFailed",
    "AnalysisRefused",
    "AnalysisStream",
    "AnalysisTerminated",
    "AnalysisTimeout",
    "AnswerUnreadable",
    "AsyncAnalysisClient",
    "ClientClosed",
    "ClientError",
    "Endpoint",
    "EngineUnreachable",
    "EngineVersion",
    "EngineWarning",
    "Model",
    "MoveInfo",
    "MoveLimit",
    "Query",
    "Retries",
    "RootInfo",
    "Stdio",
    "SyncAnalysisStream",
    "Tcp",
    "Unix",
    "WebSocket",
    "endpoint_of",
]
