"""A process that ends once a program listens at an address: host and port are its arguments."""

import socket
import sys
import time

_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02

if __name__ == "__main__":
    _end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0).close()
            break
        except OSError as error:
            if time.monotonic() > _end:
                sys.exit(str(error))
            time.sleep(_POLL_SECONDS)
