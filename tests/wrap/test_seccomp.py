"""The filter as classic BPF, run by a small interpreter; the kernel: tests/interop/test_wrap.py."""

import struct

import pytest

from sallyport.wrap import seccomp

X86, ARM = 0xC000003E, 0xC00000B7
ALLOWED, SUSPENDED = 0x7FFF0000, 0x7FC00000
NAMES = ("bind", "listen", "getsockname")


def verdict(program: bytes, number: int, architecture: int) -> int:
    """Run the program on the two words of struct seccomp_data that it looks at."""
    data = {0: number, 4: architecture}
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            return int(value)


@pytest.mark.parametrize(
    ("machine", "architecture", "numbers"),
    [("x86_64", X86, (49, 50, 51)), ("aarch64", ARM, (200, 201, 204))],
)
def test_the_calls_named_are_suspended_and_no_other(
    machine: str, architecture: int, numbers: tuple[int, ...]
) -> None:
    program = seccomp.filter_program(machine, NAMES)
    suspended = [n for n in range(500) if verdict(program, n, architecture) == SUSPENDED]

    assert tuple(suspended) == numbers
    assert verdict(program, 0, architecture) == ALLOWED


def test_calls_of_another_abi_pass() -> None:
    program = seccomp.filter_program("x86_64", NAMES)
    assert verdict(program, 49, 0x40000003) == ALLOWED


def test_a_machine_whose_numbers_are_not_known_is_refused_in_words() -> None:
    with pytest.raises(seccomp.Unsupported, match="riscv64 are not known here, only those of x86"):
        seccomp.filter_program("riscv64", NAMES)
