"""The keys of `[filters.ftp]`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class FtpSettings:
    """The keys of `[filters.ftp]`."""

    trust_pasv_address: Literal["server", "replace"] = "server"
    """Whether a 227 must name the server itself, or is taken to mean it, as with a server behind a
    NAT of its own that names its inside address (attack V01)."""
    strict_data_port: bool = False
    """Accept data connections only from port 20 or the port below the control port (attack F27)."""
