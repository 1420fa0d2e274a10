"""The verbs of the command line, grouped by what they are about; `agent/__main__.py` lists them all.

The only place that prints and exits. Each verb imports what it needs inside itself, so that `agent version` stays quick
and `agent run` stays small, calls one function of the part that does the work, and prints what that returned.
"""
