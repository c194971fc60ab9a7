"""Commands that need no running gateway: run, check-config, filters, lab."""

from dataclasses import replace
from pathlib import Path

import click

from sallyport.cli.exits import Exit
from sallyport.cli.options import PATH, with_output
from sallyport.cli.render import Output
from sallyport.core.journal import Level
from sallyport.errors import ConfigErrors
from sallyport.ops import config, logs
from sallyport.ops.interfaces import addresses_of
from sallyport.ops.schema import Check, FilterRow, Filters, Mistake
from sallyport.ops.settings import KNOWN_FILTERS, Configuration


@click.command()
@click.option("--config", "config_file", type=PATH, help="Read this TOML file.")
@click.option("--internal", metavar="IF", help="Without a file: the interface to the inside.")
@click.option("--external", metavar="IF", help="Without a file: the interface to the outside.")
@click.option("--control-socket", type=PATH, help="Listen for other commands here.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice([form.value for form in logs.Format]),
    default=logs.Format.AUTO.value,
    show_default=True,
    help="auto: text on a terminal, JSON lines elsewhere.",
)
def run(
    *,
    config_file: Path | None,
    internal: str | None,
    external: str | None,
    control_socket: Path | None,
    log_level: Level,
    log_format: str,
) -> None:
    """Run the gateway in the foreground, from a file or between two interfaces."""
    if config_file and not (internal or external):
        configuration = config.load(config_file)
    elif internal and external and not config_file:
        configuration = config.from_interfaces(internal, external, addresses_of)
    else:
        raise click.UsageError("give --config FILE, or --internal IF and --external IF")
    if control_socket:
        configuration = _with_socket(configuration, control_socket)
    journal = logs.set_up(log_level, logs.Format(log_format))
    # Only this command pays for importing the gateway itself.
    from sallyport.ops.daemon import run as run_gateway  # noqa: PLC0415 - see above

    run_gateway(configuration, journal)


@click.command("check-config")
@click.argument("file", type=PATH)
@with_output
def check_config(output: Output, file: Path) -> Exit:
    """Read FILE as `run` would, and show everything that is wrong in it."""
    mistakes: list[Mistake] = []
    try:
        policy = config.load(file).policy
    except ConfigErrors as errors:
        if not output.as_json:
            raise
        mistakes = [Mistake(file=e.file, line=e.line, problem=e.problem) for e in errors.errors]
    if output.as_json:
        output.json(Check(file=str(file), valid=not mistakes, errors=mistakes))
    else:
        output.line(
            f"{file} is fine: {len(policy.networks)} networks, {len(policy.network_rules)} network"
            f" rules, {len(policy.access_rules)} access rules, {len(policy.publishing_rules)}"
            " publishing rules"
        )
    return Exit.BAD_CONFIGURATION if mistakes else Exit.FINE


@click.group()
def filters() -> None:
    """Show the protocol filters."""


@filters.command("list")
@with_output
def list_filters(output: Output) -> None:
    """List the protocol filters of this version."""
    rows = [
        FilterRow(
            name=known.name,
            protocols=[protocol.name for protocol in known.protocols],
            on_by_default=known.on_by_default,
            summary=known.summary,
        )
        for known in KNOWN_FILTERS.values()
    ]
    if output.as_json:
        output.json(Filters(filters=rows))
    else:
        output.table(
            ("FILTER", "PROTOCOLS", "DEFAULT", "WHAT"),
            (
                (
                    row.name,
                    ", ".join(row.protocols),
                    "on" if row.on_by_default else "off",
                    row.summary,
                )
                for row in rows
            ),
            nothing="no filters",
        )


@click.group()
def lab() -> None:
    """Try the gateway in a network built out of namespaces."""


@lab.command("up")
def lab_up() -> None:
    """Build client, gateway and server, and leave them standing."""
    from sallyport import lab as laboratory  # noqa: PLC0415 - it is no part of a running gateway

    laboratory.up()


@lab.command("down")
def lab_down() -> None:
    """Remove what `lab up` built."""
    from sallyport import lab as laboratory  # noqa: PLC0415 - as in lab_up

    laboratory.down()


@lab.command("demo")
def lab_demo() -> None:
    """Show active FTP through the gateway with real programs, then remove everything."""
    from sallyport import lab as laboratory  # noqa: PLC0415 - as in lab_up

    laboratory.demo()


def _with_socket(configuration: Configuration, path: Path) -> Configuration:
    try:
        gateway = replace(configuration.gateway, control_socket=path.absolute())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return replace(configuration, gateway=gateway)
