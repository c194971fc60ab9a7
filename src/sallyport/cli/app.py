"""The command `sallyport` and its fence: every error ends here as one line and an exit code."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import click

from sallyport import __version__
from sallyport.cli import explain, filters, observe, operate, reasons, transfers, watch
from sallyport.cli.doctor import doctor
from sallyport.cli.exits import Exit, exit_code
from sallyport.cli.passwd import passwd
from sallyport.cli.render import print_json
from sallyport.cli.top import top
from sallyport.cli.wrap import wrap
from sallyport.errors import ConfigErrors, SallyportError
from sallyport.ops.control.schema import Problem


@dataclass(slots=True)
class Fence:
    """What the fence needs when a command fails."""

    shows_tracebacks: bool = False


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sallyport", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="SALLYPORT_DEBUG", help="Show tracebacks.")
@click.pass_obj
def app(fence: Fence, debug: bool) -> None:
    """Let programs behind NAT receive the connections their protocols negotiate."""
    fence.shows_tracebacks = debug


for _command in (
    operate.run,
    operate.check_config,
    operate.reload_config,
    operate.drain,
    operate.upgrade,
    explain.explain,
    doctor,
    observe.status,
    observe.sessions,
    observe.bindings,
    transfers.transfers,
    top,
    observe.rules,
    filters.filters,
    reasons.reasons,
    watch.events,
    watch.trace,
    wrap,
    passwd,
    operate.lab,
):
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process by default); return the exit code."""
    fence = Fence()
    try:
        code = app.main(arguments, prog_name="sallyport", standalone_mode=False, obj=fence)
    except click.UsageError as error:
        if _is_json_wanted(error, sys.argv[1:] if arguments is None else arguments):
            print_json(Problem(code="wrong-command-line", message=error.format_message()))
        error.show()
        return Exit.USAGE
    except click.Abort:
        click.echo("sallyport: interrupted", err=True)
        return Exit.FAILED
    except SallyportError as error:
        # Mistakes in a file begin with its name, as compilers print them: editors jump there.
        prefix = "" if isinstance(error, ConfigErrors) else "sallyport: "
        click.echo(f"{prefix}{error}", err=True)
        return exit_code(error)
    except Exception as error:
        if fence.shows_tracebacks:
            raise
        hint = "sallyport --debug, or SALLYPORT_DEBUG=1, shows where"
        click.echo(f"sallyport: unexpected {type(error).__name__}: {error}; {hint}", err=True)
        return Exit.FAILED
    return int(code or Exit.FINE)


def _is_json_wanted(error: click.UsageError, arguments: Sequence[str]) -> bool:
    """Whether a command line that is wrong has --json, where that is an option of ours.

    That of a program which `wrap` starts is not ours; a verb that does not exist may have had one.
    """
    command = None if error.ctx is None else error.ctx.command
    is_ours = isinstance(command, click.Group) or (
        command is not None and any(option.name == "as_json" for option in command.params)
    )
    return is_ours and "--json" in takewhile(lambda argument: argument != "--", arguments)
