"""`sallyport passwd`: from a password to what the configuration has in its place."""

import json

import pytest
from click.testing import CliRunner

from sallyport.cli.app import Fence, app
from sallyport.passwords import PasswordHash


def test_the_first_line_of_standard_input_becomes_a_hash_that_fits() -> None:
    done = CliRunner().invoke(app, ["passwd"], input="secret\n", obj=Fence())

    assert done.exit_code == 0
    assert PasswordHash.parse(done.stdout.strip()).fits(b"secret")


def test_two_hashes_of_one_password_do_not_look_alike() -> None:
    made = {CliRunner().invoke(app, ["passwd"], input="x\n", obj=Fence()).stdout for _ in range(2)}

    assert len(made) == 2


def test_programs_get_an_object() -> None:
    done = CliRunner().invoke(app, ["passwd", "--json"], input="secret\n", obj=Fence())

    assert PasswordHash.parse(json.loads(done.stdout)["password"]).fits(b"secret")


@pytest.mark.parametrize("password", ["", "x" * 256])
def test_a_password_that_no_client_can_send_is_refused(password: str) -> None:
    done = CliRunner().invoke(app, ["passwd"], input=f"{password}\n", obj=Fence())

    assert done.exit_code == 2
