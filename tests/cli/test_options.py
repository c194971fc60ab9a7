import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sallyport.cli.options import with_output
from sallyport.cli.render import Output
from sallyport.errors import NotRunning


@click.command()
@click.argument("word")
@with_output
def echo(output: Output, word: str) -> None:
    """Say WORD."""
    click.echo(f"{word} {output}")


def test_a_command_gets_the_shared_options_as_one_value() -> None:
    result = CliRunner().invoke(echo, ["hi", "--json", "--control-socket", "/run/x"])

    assert result.output == f"hi {Output(Path('/run/x'), as_json=True, has_color=False)}\n"


def test_without_options_the_gateway_is_the_machines_own() -> None:
    result = CliRunner().invoke(echo, ["hi"])

    assert result.output == f"hi {Output(Path('/run/sallyport/control.sock'))}\n"


def test_the_environment_may_name_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALLYPORT_CONTROL_SOCKET", "/run/y")

    assert "/run/y" in CliRunner().invoke(echo, ["hi"]).output


@click.command()
@with_output
def fail(_output: Output) -> None:
    raise NotRunning("no gateway listens")


def test_an_error_is_an_object_too_where_objects_are_wanted() -> None:
    with_json = CliRunner().invoke(fail, ["--json"])
    without = CliRunner().invoke(fail, [])

    assert json.loads(with_json.output) == {
        "version": 1,
        "code": "not-running",
        "message": "no gateway listens",
    }
    assert without.output == ""
    for result in (with_json, without):
        assert isinstance(result.exception, NotRunning)


def test_the_command_keeps_its_help() -> None:
    result = CliRunner().invoke(echo, ["--help"])

    assert "Say WORD." in result.output
    assert "--no-color" in result.output
