"""Run a program for each connection, as inetd does.

    inetd.py PORT ADDRESS … -- PROGRAM …

Some FTP servers have no other way to listen at a port of one's choice. It imports nothing of ours.
"""

import select
import socket
import subprocess
import sys


def main(arguments: list[str]) -> None:
    """Serve at each address until it is ended; never returns."""
    at = arguments.index("--")
    (port, *addresses), program = arguments[:at], arguments[at + 1 :]
    listeners = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listeners.append(socket.create_server((address, int(port)), family=family, backlog=64))
    running: list[subprocess.Popen[bytes]] = []
    while True:
        for listener in select.select(listeners, [], [])[0]:
            connection, _peer = listener.accept()
            with connection:
                descriptor = connection.fileno()
                made = subprocess.Popen(program, stdin=descriptor, stdout=descriptor)
            running = [one for one in (*running, made) if one.poll() is None]


if __name__ == "__main__":
    main(sys.argv[1:])
