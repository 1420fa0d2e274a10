"""`agent install` and `agent doctor`: making a machine ready, and proving that it is."""

from __future__ import annotations

import sys

import typer

from agent.cli.options import Config, settings_as_owner


def install(
    image: bool = typer.Option(False, "--image", help="In the chroot of an image: its first boot does the rest."),
    start: bool = typer.Option(False, "--now", help="Start the service, too, and wait until it is ready."),
    plan_only: bool = typer.Option(False, "--plan", help="Print the steps and end."),
    only_network: bool = typer.Option(False, "--only-network", hidden=True),
) -> None:
    """Make this machine ready. As root with systemd: the service; for anybody else: configuration and network."""
    from agent.hardware import detect as detect_hardware
    from agent.install.steps import find_target, plan, plan_network
    from agent.install.steps import install as apply_steps
    from agent.install.system import LiveSystem
    from agent.model.progress import progress_on
    from agent.settings import default_state_dir, load_settings

    settings = load_settings()
    with progress_on(sys.stderr) as reporter:

        def provide() -> None:
            from agent.provision import provision

            provision(settings, reporter)

        if only_network:
            # The first-boot unit looks for the marker there, wherever the networks are.
            steps = plan_network(default_state_dir(), provide)
        else:
            target = find_target(settings.state_dir, board=str(detect_hardware().board.family), image=image)
            steps = plan(target, LiveSystem(), provide, start=start)
        if plan_only:
            for step in steps:
                print(f"{step.name:<14} {step.purpose}")
            return
        apply_steps(steps, reporter)


def doctor(
    config: Config = None,
    as_json: bool = typer.Option(False, "--json", help="Print the findings as lines of JSON."),
) -> None:
    """Check every link, from this Python to a move and a message. Exit status 1 if one is broken."""
    import contextlib

    import msgspec

    from agent.errors import ConfigError, as_called
    from agent.install.doctor import examine

    with contextlib.suppress(ConfigError):  # the first of the findings
        settings_as_owner(config)
    marks = {True: "pass", False: "FAIL", None: "-   "}
    broken = False
    for finding in examine(config):
        broken = broken or finding.ok is False
        if as_json:
            print(msgspec.json.encode(finding).decode(), flush=True)
            continue
        print(f"{marks[finding.ok]}  {finding.name:<13}  {as_called(finding.detail)}", flush=True)
        if finding.fix:
            print(f"{'':21}fix: {as_called(finding.fix)}", flush=True)
    if broken:
        raise typer.Exit(1)
