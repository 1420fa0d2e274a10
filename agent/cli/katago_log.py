"""Where `agent katago` logs, by the keys of a KataGo configuration: logDir, logFile, logToStderr and their like."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agent.service.config_keys import Configuration

# Native KataGo's log of a year of games fills a card; two files of this size stay.
MAX_LOG_BYTES: Final = 32 << 20

_PLACES: Final = ("logFile", "logDir", "logDirDated")


def start_log(configuration: Configuration) -> None:
    """Log to standard error and to the file that the configuration names. A file that cannot be written is a warning,
    as in KataGo.

    Raises SettingRefused for a wrong setting or more than one place.
    """
    is_analysis = configuration.protocol == "analysis"
    form = "%(asctime)s: %(message)s" if configuration.flag("logTimeStamp", True) else "%(message)s"
    formatter = logging.Formatter(form, "%Y-%m-%d %H:%M:%S%z")
    stderr = logging.StreamHandler(sys.stderr)
    # KataGo's GTP says little there by itself; what goes wrong is always told.
    stderr.setLevel(logging.INFO if configuration.flag("logToStderr", is_analysis) else logging.WARNING)
    handlers: list[logging.Handler] = [stderr]
    path = _path(configuration)
    trouble = None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8"))
        except OSError as error:
            trouble = error
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    if trouble is not None:
        logging.getLogger(__name__).warning("WARNING: could not open file for logging: %s", trouble)


def logged(service: Callable[..., Any], configuration: Configuration) -> Callable[..., Any]:
    """`service`, whose connections write down what the configuration asks for.

    Raises SettingRefused.
    """
    from agent.service.traffic_log import LoggedConnection, Traffic

    is_gtp = configuration.protocol == "gtp"
    all_of_it = configuration.flag("logAllGTPCommunication", False)
    traffic = (
        Traffic(requests=all_of_it, responses=all_of_it)
        if is_gtp
        else Traffic(
            requests=configuration.flag("logAllRequests", False),
            responses=configuration.flag("logAllResponses", False),
            errors=configuration.flag("logErrorsAndWarnings", True),
        )
    )
    if not traffic:
        return service

    def make(*args: Any) -> Callable[..., Any]:
        make_connection = service(*args)
        return lambda engine: LoggedConnection(make_connection(engine), traffic)

    return make


def _path(configuration: Configuration) -> Path | None:
    from agent.errors import SettingRefused

    named = [name for name in _PLACES if configuration.text(name)]
    if len(named) > 1:
        raise SettingRefused("Cannot specify more than one of logFile and logDir and logDirDated in config")
    if not named:
        return None
    place = Path(configuration.text(named[0]))
    if named[0] == "logFile":
        return place
    now = time.strftime("%Y%m%d-%H%M%S")
    folder = place / now if named[0] == "logDirDated" else place
    return folder / f"{now}-{secrets.token_hex(4).upper()}.log"
