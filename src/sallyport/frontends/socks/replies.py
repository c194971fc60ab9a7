"""What the outcome of a request is in the words of SOCKS."""

import errno
from typing import Final

from sallyport.addresses import Endpoint
from sallyport.errors import AddressNotAllowed, BindError, PolicyDenied
from sallyport.wire import socks
from sallyport.wire.socks import SocksReply

_OF_ERRORS: Final = {
    errno.ECONNREFUSED: SocksReply.CONNECTION_REFUSED,
    errno.ENETUNREACH: SocksReply.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: SocksReply.HOST_UNREACHABLE,
    errno.ETIMEDOUT: SocksReply.HOST_UNREACHABLE,
}


def of_refusal(refusal: BindError) -> SocksReply:
    """Return what a refused call of the gateway is answered with."""
    if isinstance(refusal, PolicyDenied | AddressNotAllowed):
        return SocksReply.NOT_ALLOWED
    return SocksReply.GENERAL_FAILURE


def of_error(error: OSError | None) -> SocksReply:
    """Return why a server was not reached; None: a filter denied it."""
    if error is None:
        return SocksReply.NOT_ALLOWED
    # Our own time limit is a TimeoutError without a number.
    number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
    return _OF_ERRORS.get(number or 0, SocksReply.GENERAL_FAILURE)


class ConnectWords:
    """What a client hears of its CONNECT (`control_connection.Words`)."""

    def __init__(self, version: int) -> None:
        self._version = version

    def connected(self, ours: Endpoint) -> bytes:
        """Say that the server has answered us at `ours`."""
        return socks.answer(self._version, SocksReply.SUCCEEDED, ours)

    def failed(self, error: OSError | None) -> bytes:
        """Say why there is no connection."""
        return socks.answer(self._version, of_error(error))
