"""Files that keep what must outlive the daemon: only its own user may have written them."""

import os
import stat
from pathlib import Path

from sallyport.errors import StartupError

STATE_FOLDER = Path("/run/sallyport")


def of_namespace(suffix: str, folder: Path | None = None) -> Path:
    """Return the file of this network namespace with this suffix."""
    number = os.stat("/proc/self/ns/net").st_ino
    return (folder or STATE_FOLDER) / f"netns-{number}.{suffix}"


def read(file: Path) -> bytes | None:
    """Return what a file holds, None when there is none; raises StartupError.

    A file that others than us could have written is refused, and so is a symbolic link.
    """
    try:
        number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupError(f"cannot read {file}: {error.strerror}") from None
    with open(number, "rb") as kept:
        status = os.fstat(number)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StartupError(
                f"{file} says what to do as this user, and others than this user can write it;"
                " remove it"
            )
        return kept.read()


def write(file: Path, data: bytes) -> None:
    """Replace a file as a whole, mode 0600; raises StartupError.

    A crash in between leaves the old file, not half of the new one.
    """
    draft = file.with_suffix(".new")
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(draft, flags, 0o600), "wb") as out:
            out.write(data)
        draft.replace(file)
    except OSError as error:
        raise StartupError(
            f"cannot write {file}: {error.strerror}; make {file.parent} a folder"
            " of this user (RuntimeDirectory=sallyport in a systemd unit does)"
        ) from None
