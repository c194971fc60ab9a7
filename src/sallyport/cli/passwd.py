"""The command `passwd`: makes the hash of a password for `[[users]]`."""

import secrets
import sys

import click

from sallyport.cli.options import with_format
from sallyport.cli.render import Output
from sallyport.ops.control.schema import HashedPassword
from sallyport.passwords import SALT_BYTES, PasswordHash


@click.command()
@with_format
def passwd(output: Output) -> None:
    """Read a password and print its hash, for the key password of [[users]].

    On a terminal it is asked for twice and not shown; else it is the first line of standard input.
    Needs no running gateway.
    """
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\n")
    # RFC 1929 section 2: a password of 1 to 255 bytes is what a client can send.
    password = text.encode()
    if not 1 <= len(password) <= 255:
        raise click.UsageError("a password has 1 to 255 bytes")
    made = str(PasswordHash.of(password, secrets.token_bytes(SALT_BYTES)))
    if output.as_json:
        output.json(HashedPassword(password=made))
    else:
        output.line(made)
