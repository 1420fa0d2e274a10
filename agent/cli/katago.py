"""`agent katago version|gtp|analysis|benchmark`: KataGo's own command line, for clients that want the path of a katago.

Options have one dash, as KataGo's do; two are taken as well. The rest is that of `agent gtp` and `agent analysis`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agent.cli.katago_benchmark import benchmark
from agent.cli.katago_log import logged, start_log
from agent.cli.katago_options import Configs, HumanModel, Model, Overriding, read_configuration
from agent.cli.options import settings_as_owner
from agent.cli.serving import tell, tell_leftovers

if TYPE_CHECKING:
    from agent.events import Event
    from agent.service.config_keys import Configuration
    from agent.settings import Settings

_PROFILE = "humanSLProfile"

app = typer.Typer(
    help="KataGo's own command line, for a client that is configured with the path of a katago.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def version() -> None:
    """Print who this is and end."""
    import platform

    from agent.service.identity import GIT_HASH, VERSION

    print(f"KataGo v{VERSION}")
    print(f"Git revision: {GIT_HASH}")
    print(f"Using the networks' runtimes of katago-agent on {platform.machine()}")


@app.command()
def gtp(
    model: Model = None,
    config: Configs = None,
    override_config: Overriding = None,
    human_model: HumanModel = None,
    override_version: str = typer.Option(
        "", "-override-version", "--override-version", metavar="VERSION", help="What the command version says."
    ),
) -> None:
    """Run the GTP engine."""
    from functools import partial

    from agent.run import gtp_service

    service = partial(gtp_service, version=override_version)
    _serve("gtp", service, model, config or [], override_config or [], human_model, may_join=not override_version)


@app.command()
def analysis(
    model: Model = None,
    config: Configs = None,
    override_config: Overriding = None,
    human_model: HumanModel = None,
    analysis_threads: int = typer.Option(
        None, "-analysis-threads", "--analysis-threads", metavar="THREADS", help="As numAnalysisThreads."
    ),
    quit_without_waiting: bool = typer.Option(
        False, "-quit-without-waiting", "--quit-without-waiting", help="End with the input, without the queued answers."
    ),
) -> None:
    """Run the JSON analysis engine."""
    from functools import partial

    from agent.run import analysis_service

    service = partial(analysis_service, quit_without_waiting=quit_without_waiting)
    _serve(
        "analysis",
        service,
        model,
        config or [],
        override_config or [],
        human_model,
        analysis_threads=analysis_threads,
        may_join=not quit_without_waiting,
    )


app.command()(benchmark)


def _serve(
    protocol: str,
    service: Callable[..., Any],
    model: str | None,
    configs: list[Path],
    overrides: list[str],
    human_model: str | None,
    *,
    analysis_threads: int | None = None,
    may_join: bool = True,
) -> None:
    """Serve standard input and output; through the running agent only where nothing was asked for."""
    import asyncio

    from agent.errors import SettingRefused
    from agent.run import serve_client
    from agent.service.identity import VERSION
    from agent.settings import with_overrides

    pairs = overrides if analysis_threads is None else [*overrides, f"numAnalysisThreads={analysis_threads}"]
    if (
        analysis_threads is not None
        and "numAnalysisThreads" in read_configuration(protocol, configs, overrides).settings
    ):
        raise SettingRefused(
            f"When specifying numAnalysisThreads in the config ({configs[0] if configs else ''}), it is redundant and"
            " disallowed to also specify it via -analysis-threads"
        )
    configuration = read_configuration(protocol, configs, pairs)
    settings = with_overrides(settings_as_owner(), network=model)
    start_log(configuration)
    tell(f"KataGo v{VERSION}")
    settings, configuration = imitating(settings, configuration)
    tell_leftovers(configuration)
    if human_model:
        tell(f"Without effect here: -human-model {human_model}; give it as -model to play as it does")
    asked = bool(model or configs or pairs)
    asyncio.run(
        serve_client(
            settings,
            _Starting(configuration, model),
            protocol,
            logged(service, configuration),
            configuration,
            may_join=may_join and not asked,
        )
    )


def imitating(settings: Settings, configuration: Configuration) -> tuple[Settings, Configuration]:
    """The settings with whom the configuration's humanSLProfile names, where the network imitates anybody; the
    configuration without what was taken from it. Of another network the setting has no effect, as in KataGo.

    Raises NetworkFormatError.
    """
    import msgspec

    profile = configuration.text(_PROFILE)
    if not profile or settings.network is None:
        return settings, configuration
    from agent.export.parse import is_human_style
    from agent.model.catalogue import load_catalogue
    from agent.model.pull import lies_at
    from agent.model.store import Store
    from agent.settings import data_folder

    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    path = lies_at(settings.network, catalogue, Store(settings.state_dir))
    if path is None or not is_human_style(path):
        return settings, configuration
    rest = {name: setting for name, setting in configuration.settings.items() if name != _PROFILE}
    return (
        msgspec.structs.replace(settings, human_profile=profile),
        msgspec.structs.replace(configuration, settings=rest),
    )


class _Starting:
    """Tells the start on standard error as KataGo does: the line that clients wait for stands alone."""

    def __init__(self, configuration: Configuration, model: str | None) -> None:
        self._configuration = configuration
        self._model = model

    def report(self, event: Event) -> None:
        from agent.events import ChainStep, EngineUp, describe
        from agent.service.identity import READY_LINES

        if isinstance(event, ChainStep) and event.detail in READY_LINES.values():
            tell(event.detail)
        elif isinstance(event, EngineUp):
            tell(f"Loaded config {self._configuration.name}")
            tell(f"Loaded model {self._model or event.network}")
            tell(f"Model name: {event.network}")
        elif line := describe(event):
            tell(line)
