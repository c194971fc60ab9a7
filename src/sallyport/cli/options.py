"""Options that many commands share, each defined once."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

from sallyport.cli.exits import code_of
from sallyport.cli.render import Output, color_wanted
from sallyport.errors import SallyportError
from sallyport.ops.config.settings import GatewaySettings
from sallyport.ops.control.schema import Problem

_P = ParamSpec("_P")
_T = TypeVar("_T")

DEFAULT_CONTROL_SOCKET = GatewaySettings().control_socket

PATH = click.Path(path_type=Path)


def with_format(command: Callable[Concatenate[Output, _P], _T]) -> Callable[_P, _T]:
    """Add --json and --no-color; the command, which asks no gateway, gets them as an `Output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object; of an error too.")
    @click.option("--no-color", is_flag=True, help="Print without colour; so does NO_COLOR.")
    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        output = Output(
            control_socket=DEFAULT_CONTROL_SOCKET,
            as_json=_pop(kwargs, "as_json", bool),
            has_color=color_wanted(refused=_pop(kwargs, "no_color", bool)),
        )
        try:
            return command(output, *args, **kwargs)
        except SallyportError as error:
            # The line for people comes as well, on stderr: see `main`.
            if output.as_json:
                output.json(Problem(code=code_of(error), message=str(error)))
            raise

    return wrapped


def with_output(command: Callable[Concatenate[Output, _P], _T]) -> Callable[_P, _T]:
    """Add --control-socket, --json and --no-color; the command gets them as an `Output`."""

    @click.option(
        "--control-socket",
        type=PATH,
        default=DEFAULT_CONTROL_SOCKET,
        show_default=True,
        envvar="SALLYPORT_CONTROL_SOCKET",
        help="The gateway's control socket.",
    )
    @with_format
    @wraps(command)
    def wrapped(output: Output, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        socket = _pop(kwargs, "control_socket", Path)
        return command(replace(output, control_socket=socket), *args, **kwargs)

    return wrapped


def _pop(options: dict[str, object], name: str, kind: type[_T]) -> _T:
    value = options.pop(name)
    assert isinstance(value, kind)  # noqa: S101 - click has converted it
    return value
