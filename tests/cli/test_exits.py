import pytest

from sallyport.cli.exits import exit_code
from sallyport.errors import (
    AddressNotAllowed,
    ConfigError,
    ConfigErrors,
    KernelError,
    NotFound,
    NotRunning,
    PolicyDenied,
    QuotaExceeded,
    RequestRefused,
    SallyportError,
    StartupError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StartupError("x"), 1),
        (KernelError("x", 1), 1),
        (NotRunning("x"), 3),
        (NotFound("x"), 4),
        (PolicyDenied("x"), 5),
        (AddressNotAllowed("x"), 5),
        (QuotaExceeded("x"), 5),
        (ConfigError("f", 1, "x"), 78),
        (ConfigErrors([ConfigError("f", 1, "x")]), 78),
        (RequestRefused("not-found", "x"), 4),
        (RequestRefused("policy-denied", "x"), 5),
        (RequestRefused("a-code-of-a-later-version", "x"), 1),
    ],
)
def test_every_error_has_the_documented_exit_code(error: SallyportError, code: int) -> None:
    assert exit_code(error) == code
