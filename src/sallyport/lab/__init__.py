"""A laboratory of network namespaces: the tests' network, and one to play with.

`up` leaves a network standing, `down` removes it, `demo` shows Sallyport at work in its own.
"""

import sys

from sallyport.errors import StartupError
from sallyport.lab.demo import demonstrate
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab, standing
from sallyport.lab.servers import FtpServer, why_not

__all__ = ["FtpServer", "Host", "Lab", "RunningGateway", "demo", "down", "up"]

_TO_TRY = """\
The lab {prefix!r} stands: client 10.0.0.8, gateway 10.0.0.1 | 203.0.113.1, server 203.0.113.9,
stranger 203.0.113.66; {server}. Try, in three terminals:

  ip netns exec {prefix}-gateway sallyport run --internal int0 --external ext0
  ip netns exec {prefix}-client curl --ftp-port - ftp://203.0.113.9/hello.txt
  ip netns exec {prefix}-gateway sallyport bindings list
"""


def up(prefix: str = "lab") -> None:
    """Leave a lab standing, with an FTP server if vsftpd is installed, and say what to try.

    Raises StartupError when it cannot be built or stands already.
    """
    lab = Lab.build(prefix)
    server = why_not("vsftpd")
    if server is None:
        files = FtpServer("vsftpd", lab.server, lab.folder / "files").folder
        (files / "hello.txt").write_text("Hello from the other side.\n", encoding="ascii")
        server = "vsftpd serves there"
    sys.stdout.write(_TO_TRY.format(prefix=prefix, server=server))


def down(prefix: str = "lab") -> None:
    """Remove a standing lab with all that runs in it; raises StartupError when there is none."""
    if not standing(prefix):
        raise StartupError(f"no lab {prefix!r} stands here")
    Lab(prefix).close()
    sys.stdout.write(f"The lab {prefix!r} is gone.\n")


def demo() -> None:
    """Show the main job on real programs; raises StartupError at the first thing that fails."""
    demonstrate(sys.stdout.write)
