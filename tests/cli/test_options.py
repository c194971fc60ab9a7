from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sallyport.cli.options import with_output
from sallyport.cli.render import Output


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


def test_the_command_keeps_its_help() -> None:
    result = CliRunner().invoke(echo, ["--help"])

    assert "Say WORD." in result.output
    assert "--no-color" in result.output
