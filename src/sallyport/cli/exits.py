"""Exit codes, the same for every command."""

from enum import IntEnum

from sallyport.errors import (
    AddressNotAllowed,
    ConfigErrors,
    NotFound,
    NotRunning,
    PolicyDenied,
    QuotaExceeded,
    RequestRefused,
    SallyportError,
)


class Exit(IntEnum):
    """Exit codes; 3 and 4 as systemctl has them, 78 is EX_CONFIG of sysexits.h."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4
    REFUSED = 5
    DEGRADED = 6
    BAD_CONFIGURATION = 78


_BY_CODE = {
    NotRunning.code: Exit.NOT_RUNNING,
    NotFound.code: Exit.NOT_FOUND,
    PolicyDenied.code: Exit.REFUSED,
    AddressNotAllowed.code: Exit.REFUSED,
    QuotaExceeded.code: Exit.REFUSED,
    ConfigErrors.code: Exit.BAD_CONFIGURATION,
}


def code_of(error: SallyportError) -> str:
    """Return the stable word for `error`, whether it happened here or in the gateway asked."""
    return error.refusal if isinstance(error, RequestRefused) else error.code


def exit_code(error: SallyportError) -> Exit:
    """Return the exit code for `error`."""
    return _BY_CODE.get(code_of(error), Exit.FAILED)
