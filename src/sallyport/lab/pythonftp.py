"""Python's ftplib as an FTP client program, so that the lab can run it like any other.

    pythonftp.py active|passive download|upload ADDRESS PORT USER PASSWORD NAME FILE

It prints its dialogue with the server. It imports nothing of ours and so starts quickly.
"""

import sys
from ftplib import FTP

# Seconds of silence; a lab answers within milliseconds.
_TIMEOUT = 10.0


def main(arguments: list[str]) -> None:
    """Make one transfer; raises what ftplib raises."""
    way, direction, address, port, user, password, name, file = arguments
    with FTP(timeout=_TIMEOUT) as ftp:  # noqa: S321 - FTP is the subject
        ftp.set_debuglevel(1)
        ftp.connect(address, int(port))
        ftp.login(user, password)
        ftp.set_pasv(way == "passive")
        if direction == "upload":
            with open(file, "rb") as source:
                ftp.storbinary(f"STOR {name}", source)
        else:
            with open(file, "wb") as target:
                ftp.retrbinary(f"RETR {name}", target.write)


if __name__ == "__main__":
    main(sys.argv[1:])
