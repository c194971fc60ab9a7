import errno
from collections.abc import Iterator

import pytest

from sallyport import errors
from sallyport.errors import (
    KERNEL_ERRORS,
    BindError,
    ConfigError,
    ConfigErrors,
    KernelError,
    OperatorError,
    ProtocolError,
    SallyportError,
)


def tree(root: type[SallyportError] = SallyportError) -> Iterator[type[SallyportError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_refusals_carry_the_numbers_of_the_sdk() -> None:
    numbers = {e.__name__: e.hresult for e in BindError.__subclasses__()}
    assert numbers == {
        "PolicyDenied": 0xC004000D,
        "AddressInUse": 0x80072740,
        "AddressNotAvailable": 0x80072741,
        "AddressNotAllowed": 0xC004002E,
        "InvalidArgument": 0x80070057,
        "QuotaExceeded": 0xC0040033,
        "OutOfResources": 0xC0040024,
        "Terminating": 0xC0040001,
        "BadContext": 0xC004000A,
        "AlreadyEmulated": 0xC0040009,
        "NotEmulated": 0xC0040010,
        "AlreadyExists": 0x800700B7,
        "NoSuchBind": 0x80070490,
        "KernelError": 0x80004005,
    }


def test_every_kind_has_a_code_of_its_own() -> None:
    codes: dict[str, str] = {}
    for kind in tree():
        # All the mistakes of one configuration are one fault, with the code of each.
        if kind is not ConfigErrors:
            assert codes.setdefault(kind.code, kind.__name__) == kind.__name__
    assert ConfigErrors.code == ConfigError.code


def test_the_fault_decides_the_branch() -> None:
    branches = {kind.__name__ for kind in SallyportError.__subclasses__()}
    assert branches >= {"ProtocolError", "BindError", "OperatorError"}


def test_what_the_kernel_refused_is_counted_and_what_it_answered_is_not() -> None:
    before = KERNEL_ERRORS["a test"]
    for number in (errno.ENOMEM, errno.EEXIST, errno.ENOENT, 0):
        assert KernelError("a test", number).errno == number

    assert KERNEL_ERRORS["a test"] == before + 2


def test_a_refusal_gives_its_reason() -> None:
    for kind in set(BindError.__subclasses__()) - {KernelError}:
        assert kind("because").reason == str(kind("because")) == "because"


def test_offending_bytes_are_shown_in_part() -> None:
    error = ProtocolError("bad-line", b"x" * 1000)

    assert error.offending == b"x" * 64
    assert str(error) == error.reason == "bad-line"
    assert ProtocolError("bad-line").offending == b""


@pytest.mark.parametrize(("detail", "text"), [("", "add: errno (28)"), ("full", "add: full (28)")])
def test_a_kernel_error_says_what_was_asked_and_what_came(detail: str, text: str) -> None:
    error = KernelError("add", 28, detail)

    assert (error.operation, error.errno, str(error)) == ("add", 28, text)
    assert error.reason == error.code  # the kernel's words are no stable code


def test_a_configuration_error_points_at_its_line() -> None:
    error = ConfigError("a.toml", 7, "unknown key")

    assert str(error) == "a.toml:7: unknown key"
    assert (error.file, error.line, error.problem) == ("a.toml", 7, "unknown key")
    assert isinstance(error, OperatorError)


def test_configuration_errors_come_in_the_order_of_their_lines() -> None:
    late, early = ConfigError("a.toml", 9, "late"), ConfigError("a.toml", 2, "early")

    assert ConfigErrors([late, early]).errors == (early, late)
    assert str(ConfigErrors([late, early])) == "a.toml:2: early\na.toml:9: late"
