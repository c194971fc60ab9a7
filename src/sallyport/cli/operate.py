"""Commands that run a gateway: run, check-config, reload, drain, upgrade, lab."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import click

from sallyport import limits
from sallyport.cli.exits import Exit
from sallyport.cli.options import PATH, with_format, with_output
from sallyport.cli.render import Output
from sallyport.core.runtime.environment import Level
from sallyport.errors import ConfigError, ConfigErrors, OperatorError
from sallyport.kernel.cuts import forwarded
from sallyport.ops import logs
from sallyport.ops.config.load import Configuration, parse, read_text
from sallyport.ops.config.review import HostFacts, review
from sallyport.ops.config.settings import socket_path_fault
from sallyport.ops.config.toml_lines import line_map
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import (
    Check,
    DrainBegun,
    Reloaded,
    Status,
    UpgradeBegun,
    mistakes_of,
)
from sallyport.ops.interfaces import lasting_addresses, local_addresses, vrfs
from sallyport.ops.processes.source import file_source, interface_source

# A successor takes a second or two.
_LOOK_SECONDS = 0.2


@click.command()
@click.option("--config", "config_file", type=PATH, help="Read this TOML file.")
@click.option("--internal", metavar="IF", help="Without a file: the interface to the inside.")
@click.option("--external", metavar="IF", help="Without a file: the interface to the outside.")
@click.option("--control-socket", type=PATH, help="Listen for other commands here.")
@click.option(
    "--takeover", is_flag=True, help="Take the place of the gateway that runs; no client notices."
)
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
    help="auto: text on a terminal, systemd's journal natively, JSON lines elsewhere.",
)
def run(
    *,
    config_file: Path | None,
    internal: str | None,
    external: str | None,
    control_socket: Path | None,
    takeover: bool,
    log_level: Level,
    log_format: str,
) -> None:
    """Run the gateway in the foreground, from a file or between two interfaces.

    SIGHUP reads the file again. SIGUSR2 starts new workers, from the release that is installed now,
    and lets the old ones finish. SIGTERM stops when running transfers have finished; a second one
    stops now.
    """
    if control_socket and (fault := socket_path_fault(control_socket.absolute())):
        raise click.UsageError(fault)
    if config_file and not (internal or external):
        file = config_file.absolute()
        read = partial(file_source, file, control_socket)
    elif internal and external and not config_file:
        file = None
        read = partial(interface_source, internal, external, control_socket)
    else:
        raise click.UsageError(
            "give either --config FILE, or --internal IF and --external IF, not both"
        )
    journal = logs.set_up(log_level, logs.Format(log_format))
    # Only this command pays for importing the gateway itself.
    from sallyport.ops.processes.supervisor import run as run_gateway  # noqa: PLC0415 - see above

    run_gateway(read, journal, file, takes_over=takeover)


@click.command("check-config")
@click.argument("file", type=PATH)
@with_format
def check_config(output: Output, file: Path) -> Exit:
    """Read FILE as `run` would on this host, and show everything that is wrong in it.

    Errors end in exit code 78. Warnings are about what `run` would start with, though it hardly
    means what was meant: a rule that never matches, an interface that is not there, connections
    that the host forwards now and a start would cut (root alone may know these).
    """
    configuration: Configuration | None = None
    errors: Sequence[ConfigError] = ()
    warnings: Sequence[ConfigError] = ()
    try:
        text = read_text(file)
        configuration = parse(text, str(file))
        host = HostFacts(lasting_addresses(), local_addresses(), vrfs(), forwarded())
        errors, warnings = review(configuration, str(file), line_map(text), host)
    except ConfigErrors as found:
        errors = found.errors
    if output.as_json:
        output.json(_check(file, configuration, errors, warnings))
        return Exit.BAD_CONFIGURATION if errors else Exit.FINE
    for one in warnings:
        click.echo(f"{one.file}:{one.line}: warning: {one.problem}", err=True)
    if errors or configuration is None:
        raise ConfigErrors(errors)
    _show_fine(output, file, configuration)
    return Exit.FINE


def _check(
    file: Path,
    configuration: Configuration | None,
    errors: Sequence[ConfigError],
    warnings: Sequence[ConfigError],
) -> Check:
    return Check(
        file=str(file),
        valid=not errors,
        errors=mistakes_of(errors),
        warnings=mistakes_of(warnings),
        supervised=list(configuration.supervised_names if configuration else ()),
        unsupervised=list(configuration.unsupervised if configuration else ()),
    )


def _show_fine(output: Output, file: Path, configuration: Configuration) -> None:
    policy = configuration.policy
    counts = (
        _count(len(policy.networks), "network"),
        _count(len(policy.network_rules), "network rule"),
        _count(len(policy.access_rules), "access rule"),
        _count(len(policy.publishing_rules), "publishing rule"),
    )
    output.line(f"{file} is fine: {', '.join(counts)}")
    supervised, ordinary = configuration.supervised_names, configuration.unsupervised
    output.line(f"supervised, allowed or denied by rules: {', '.join(supervised) or 'none'}")
    output.line(f"not supervised, ordinary traffic: {', '.join(ordinary) or 'none'}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@click.command("reload")
@with_output
def reload_config(output: Output) -> Exit:
    """Make the running gateway read its configuration file again.

    New sessions and connections follow it; running ones keep their filters and what they opened.
    A file with mistakes changes nothing.
    """
    answer = request(output.control_socket, "reload", expect=Reloaded)
    if output.as_json:
        output.json(answer)
    elif answer.errors:
        raise ConfigErrors(ConfigError(e.file, e.line, e.problem) for e in answer.errors)
    else:
        output.line(f"{answer.file} is in force; filters: {', '.join(answer.filters) or 'none'}")
    return Exit.FINE if answer.valid else Exit.BAD_CONFIGURATION


@click.command("drain")
@with_output
def drain(output: Output) -> Exit:
    """Stop the gateway when its running transfers have finished.

    It accepts nothing more at once, and resets what still runs after `drain_seconds`. SIGTERM does
    the same; a second SIGTERM ends everything now.
    """
    answer = request(output.control_socket, "drain", expect=DrainBegun)
    if output.as_json:
        output.json(answer)
    else:
        output.line(f"the gateway ends when its transfers have, within {answer.drain_seconds:g} s")
    return Exit.FINE


@click.command("upgrade")
@with_output
def upgrade(output: Output) -> Exit:
    """Let the release that is installed now take over; no client is refused.

    The gateway starts it with its own options, and a service manager goes on with it. Old workers
    finish what they have. Where the new one cannot take over the old one goes on.
    """
    begun = request(output.control_socket, "upgrade", expect=UpgradeBegun)
    status = _successor(output.control_socket, begun.pid)
    if output.as_json:
        output.json(begun)
    else:
        output.line(f"release {status.release} has taken over: process {status.pid}")
    return Exit.FINE


def _successor(control_socket: Path, pid: int) -> Status:
    """Wait until the process `pid` is the gateway, and return its status; raises OperatorError."""
    until = monotonic() + limits.TAKEOVER_SECONDS
    while monotonic() < until:
        try:
            status = request(control_socket, "status", expect=Status)
        except OperatorError:  # between the two, or just when the old one ends
            status = None
        if status is not None and status.pid == pid:
            return status
        if status is not None and status.successor != pid:
            raise OperatorError(
                "the new gateway has ended and said why in the log; the old one goes on"
            )
        sleep(_LOOK_SECONDS)
    raise OperatorError(f"process {pid} does not take over; the log says how far it has come")


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
