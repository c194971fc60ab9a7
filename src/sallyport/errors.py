"""Every exception that Sallyport raises on purpose, grouped by fault: the fault decides the answer.

* `ProtocolError`: a peer sent bad bytes. It is answered in its own protocol, and counted.
* `BindError`: a request to the gateway was refused. Each kind carries the SDK's HRESULT.
* `KernelError`, one kind of `BindError`: the kernel refused an operation of ours.
* `OperatorError`: configuration or environment. The operator reads one line that says what to do.

`code` is stable: it appears unchanged in logs, JSON and documentation.
"""

import errno
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar, Final


class SallyportError(Exception):
    """The base class of all of them."""

    code: ClassVar[str] = "error"


class ProtocolError(SallyportError):
    """A peer sent bytes that its protocol does not allow.

    `reason` is a short stable word for logs; `offending` holds the start of the bytes.
    """

    code = "protocol-error"
    # Enough to recognise the input in a log, too little to carry a payload into it.
    _SHOWN = 64

    def __init__(self, reason: str, offending: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.offending = offending[: self._SHOWN]


class BindError(SallyportError):
    """A call on the gateway was refused; it has opened nothing and changed nothing.

    `reason` is a short stable word (`docs/reference/reasons.md` explains each); `hresult` is the
    number that the SDK returns.
    """

    code = "bind-refused"
    hresult: ClassVar[int] = 0x80004005
    is_recorded = False
    """Whether the gateway has written it down: the caller then writes no second record of it."""
    rule: str | None = None
    """The rule whose limits say no, by its name; None when it was no rule."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PolicyDenied(BindError):
    """The access rules do not let this client use the protocol (FWX_E_POLICY_RULES_DENIED)."""

    code = "policy-denied"
    hresult = 0xC004000D


class AddressInUse(BindError):
    """The proxy address is taken, or another filter denied the bind (WSAEADDRINUSE)."""

    code = "address-in-use"
    hresult = 0x80072740


class AddressNotAvailable(BindError):
    """The proxy address is not one of the gateway's (WSAEADDRNOTAVAIL)."""

    code = "address-not-available"
    hresult = 0x80072741


class AddressNotAllowed(BindError):
    """A client address or port is outside what the rule allows (FWX_E_ADDRESS_NOT_ALLOWED)."""

    code = "address-not-allowed"
    hresult = 0xC004002E


class InvalidArgument(BindError):
    """The arguments contradict each other or are out of range (E_INVALIDARG)."""

    code = "invalid-argument"
    hresult = 0x80070057


class QuotaExceeded(BindError):
    """The client holds as much as its rule grants (FWX_E_RULE_QUOTA_EXCEEDED_DROPPED)."""

    code = "quota-exceeded"
    hresult = 0xC0040033


class OutOfResources(BindError):
    """The gateway or its kernel has no room (FWX_E_OUT_OF_RESOURCES)."""

    code = "out-of-resources"
    hresult = 0xC0040024


class Terminating(BindError):
    """The session, connection or action is ending or has ended (FWX_E_TERMINATING)."""

    code = "terminating"
    hresult = 0xC0040001


class BadContext(BindError):
    """The call is not legal at this moment or on this object (FWX_E_BAD_CONTEXT)."""

    code = "bad-context"
    hresult = 0xC004000A


class AlreadyEmulated(BindError):
    """A filter emulates the connection already (FWX_E_ALREADY_EMULATED)."""

    code = "already-emulated"
    hresult = 0xC0040009


class NotEmulated(BindError):
    """The call is for emulated connections only (FWX_E_NOT_EMULATED)."""

    code = "not-emulated"
    hresult = 0xC0040010


class AlreadyExists(BindError):
    """The connection or name exists, and there can be only one (FWX_E_ALREADY_EXISTS)."""

    code = "already-exists"
    hresult = 0x800700B7


class NoSuchBind(BindError):
    """The client has no bind at this address (ERROR_NOT_FOUND)."""

    code = "no-such-bind"
    hresult = 0x80070490


KERNEL_ERRORS: Final[Counter[str]] = Counter()
"""How often the kernel has refused an operation of this process, by its name; for metrics."""

# "It is there" and "it is not" are answers: to a bind for a port that is taken, about a flow that
# is over. Nothing is wrong with the kernel then.
_ANSWERS: Final = frozenset({errno.EEXIST, errno.ENOENT})


class KernelError(BindError):
    """The kernel refused an operation; `errno` is its number, `operation` the name of the call."""

    code = "kernel-error"

    def __init__(self, operation: str, number: int, detail: str = "") -> None:
        super().__init__(f"{operation}: {detail or 'errno'} ({number})")
        if number not in _ANSWERS:
            KERNEL_ERRORS[operation] += 1
        self.reason = self.code  # the message has the kernel's own words, which are no stable code
        self.operation = operation
        self.errno = number


class OperatorError(SallyportError):
    """A mistake the operator can mend; the message is one line that says how."""

    code = "operator-error"


class StartupError(OperatorError):
    """The gateway cannot start on this machine as asked."""

    code = "startup-failed"


class ConfigError(OperatorError):
    """The configuration has a mistake.

    The message has the form `file:line: what is wrong; what to write instead`.
    """

    code = "bad-configuration"

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem


class ConfigErrors(OperatorError):
    """All mistakes of one configuration, in the order of its lines; never empty."""

    code = "bad-configuration"

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: (error.line, error.problem)))
        super().__init__("\n".join(map(str, self.errors)))


class DeclarationError(OperatorError):
    """The file of a declarative filter has a mistake.

    `key` is the path of the wrong key, with an index for an element of an array; of a missing key
    it is the nearest one present. `problem` says what is wrong and what to write instead.
    """

    code = "bad-declaration"

    def __init__(self, key: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem


class NotRunning(OperatorError):
    """No gateway listens on the control socket."""

    code = "not-running"


class NotFound(OperatorError):
    """No session or binding has this id."""

    code = "not-found"


class RequestRefused(OperatorError):
    """The gateway, or a worker of it, answered with an error; `refusal` is the code it gave."""

    code = "request-refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = code
