"""The mappings that clients asked for, between two processes: in JSON, on the way or in a file.

A worker writes and reads them (`values.plain` of LeaseBook); the supervisor carries them and looks
at no more than it must. The file lies where it is gone after a boot, since its times are too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from sallyport.kernel import state_file

Book = dict[str, object]
"""A LeaseBook in words of JSON."""

# What the file's readers must know: an older or newer one is not read.
_VERSION = 1

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class _MappingsFile(Struct):
    version: int
    boot: str
    """Times count from a boot (CLOCK_MONOTONIC)."""
    book: Book


def together(books: Iterable[Book | None]) -> Book | None:
    """Put the books of several workers together; None when there is none.

    Mappings were last lost when the latest of them says.
    """
    found = [book for book in books if book is not None]
    if not found:
        return None
    leases = [lease for book in found for lease in cast("list[object]", book["leases"])]
    return {"began": max(cast("float", book["began"]) for book in found), "leases": leases}


def load(file: Path) -> Book | None:
    """Return what an earlier gateway has left, and remove it; raises StartupError.

    None when there is nothing, or nothing that this release and boot can read.
    """
    kept = state_file.read(file)
    if kept is None:
        return None
    file.unlink(missing_ok=True)
    try:
        found = msgspec.json.decode(kept, type=_MappingsFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    is_ours = (found.version, found.boot) == (_VERSION, _boot())
    return found.book if is_ours else None


def save(file: Path, book: Book | None) -> None:
    """Leave mappings for the next gateway, if there are any; raises StartupError."""
    if book is not None and book["leases"]:
        state_file.write(file, msgspec.json.encode(_MappingsFile(_VERSION, _boot(), book)))


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip()
