"""Hashes of passwords: they fit one password, and are written in one line."""

import pytest

from sallyport.passwords import SALT_BYTES, UNKNOWN_USER, PasswordHash

SALT = bytes(range(SALT_BYTES))


def test_a_hash_fits_its_password_and_no_other() -> None:
    made = PasswordHash.of(b"secret", SALT)

    assert made.fits(b"secret")
    assert not made.fits(b"Secret")
    # RFC 1929: a name or a password is not the C string that it begins with.
    assert not made.fits(b"secret\0")
    assert made != PasswordHash.of(b"secret", SALT[::-1])


def test_a_hash_is_one_word_that_reads_back_and_does_not_show_the_password() -> None:
    made = PasswordHash.of(b"secret", SALT)

    assert PasswordHash.parse(str(made)) == made
    assert "secret" not in str(made)
    assert " " not in str(made)


def test_no_password_fits_an_unknown_user() -> None:
    assert not UNKNOWN_USER.fits(b"")


WRITTEN = str(PasswordHash(2**14, 8, 1, SALT, bytes(32)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        WRITTEN.replace("scrypt", "bcrypt"),
        WRITTEN.replace("$16384$", "$16383$"),
        # 16 GiB for each guess would be what whoever writes the file makes every client cost.
        WRITTEN.replace("$16384$", "$16777216$"),
        WRITTEN.replace("$8$", "$9$"),
        WRITTEN + "$",
        WRITTEN[:-4],
        WRITTEN.replace("$8$", "$x$"),
    ],
)
def test_what_is_no_hash_of_ours_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="it is no hash"):
        PasswordHash.parse(text)
