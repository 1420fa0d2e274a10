"""katago-agent: a light daemon that runs KataGo networks on small machines.

The folders are the data path: hardware → profile → model → export → engine → service → telemetry → fleet.
Imports point only towards its start; `run.py` alone wires the parts together. Start reading there.
"""

__version__ = "0.1.0"
