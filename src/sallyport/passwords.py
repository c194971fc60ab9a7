"""PasswordHash: what the configuration has in the place of a password (scrypt, RFC 7914)."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass
from hashlib import scrypt
from typing import Final, Self

# RFC 7914 section 2: N = 2^14 and r = 8 take 16 MiB and some 50 ms for each guess, which is what
# its author gives for interactive logins.
_COST: Final = 2**14
_BLOCK: Final = 8
_PARALLEL: Final = 1

# Twice what N and r need (128 * N * r bytes), and less than a worker may have.
_MAX_MEMORY: Final = 64 * 1024 * 1024
_MAX_COST: Final = 2**15

SALT_BYTES: Final = 16
"""How much chance goes into a hash: so that equal passwords do not look alike."""

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The hash of one password; written `scrypt$16384$8$1$SALT$KEY`, both in base64."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, password: bytes, salt: bytes) -> Self:
        """Return the hash of a password; `salt` is chance, `SALT_BYTES` of it."""
        return cls(_COST, _BLOCK, _PARALLEL, salt, _derive(password, salt))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what is written; raises ValueError with a sentence."""
        kind, *numbers = text.split("$")
        try:
            cost, block, parallel, salt, key = numbers
            made = cls(
                int(cost), int(block), int(parallel), b64decode(salt, validate=True), b64decode(key)
            )
        except (ValueError, Error):
            raise ValueError("it is no hash of a password") from None
        is_power = made.cost > 1 and made.cost & (made.cost - 1) == 0
        if kind != "scrypt" or not (is_power and made.cost <= _MAX_COST):
            raise ValueError("it is no hash that this release can check")
        if (made.block, made.parallel) != (_BLOCK, _PARALLEL) or len(made.key) != _KEY_BYTES:
            raise ValueError("it is no hash that this release can check")
        return made

    def fits(self, password: bytes) -> bool:
        """Return whether it is the hash of this password; takes tens of milliseconds."""
        if b"\0" in password:  # HMAC pads what it is keyed with: scrypt would not see the NUL
            return False
        return hmac.compare_digest(_derive(password, self.salt, self.cost), self.key)

    def __str__(self) -> str:
        salt, key = (b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt${self.cost}${self.block}${self.parallel}${salt}${key}"


def _derive(password: bytes, salt: bytes, cost: int = _COST) -> bytes:
    return scrypt(
        password,
        salt=salt,
        n=cost,
        r=_BLOCK,
        p=_PARALLEL,
        maxmem=_MAX_MEMORY,
        dklen=_KEY_BYTES,
    )


UNKNOWN_USER: Final = PasswordHash(_COST, _BLOCK, _PARALLEL, bytes(SALT_BYTES), bytes(_KEY_BYTES))
"""Fits no password, and takes as long as any: so that time does not tell which names there are."""
