"""Run pyftpdlib as an FTP server program, so that the lab can run it like any other.

    pyftpd.py PORT FOLDER ADDRESS ...

It stands for the servers that connect back before they answer PORT: its 200 says that the data
connection is there. It is a package of the tests and imports nothing of ours.
"""

import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


def main(arguments: list[str]) -> None:
    """Serve the folder to anonymous users at each address; never returns."""
    port, folder, *addresses = arguments
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(folder, perm="elradfmwMT")

    class Handler(FTPHandler):  # type: ignore[misc] # a package without types
        """One control connection; the lab's clients all come from one address."""

    Handler.authorizer = authorizer
    servers = [FTPServer((address, int(port)), Handler) for address in addresses]
    for server in servers:
        server.max_cons_per_ip = 0
    servers[0].serve_forever(handle_exit=False)


if __name__ == "__main__":
    main(sys.argv[1:])
