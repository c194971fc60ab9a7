"""The keys of `[filters.ftp]`, which each rule may set otherwise for what it allows."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from sallyport import limits
from sallyport.api import PortRange

Verb = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9]{0,15}$")]


@dataclass(frozen=True, slots=True)
class FtpSettings:
    """The keys of `[filters.ftp]`."""

    read_only: bool = False
    """Whether only verbs pass that change nothing at the server. AUTH is refused then, because what
    TLS hides cannot be read."""
    deny: Annotated[
        tuple[Verb, ...], Meta(description='a list of verbs in capitals, such as ["SITE", "DELE"]')
    ] = ()
    """Verbs that are refused. AUTH is refused with them, for the same reason."""
    tls: Literal["pass", "refuse"] = "pass"
    """Whether AUTH TLS passes, after which nothing can be read, or is refused with 534."""
    passive_range: PortRange | None = None
    """The ports at which a server with TLS listens for data connections, such as "50000-50099".
    They are open to the one client while its control connection speaks TLS."""
    any_peer: bool = False
    """Whether a data connection may come from, or lead to, another host than the far end of the
    control connection: a server or client with several addresses. PORT still names the client."""
    transfer_wait: Annotated[
        int, Meta(ge=1, le=86400, description="a number of seconds from 1 to 86400")
    ] = int(limits.TRANSFER_START_SECONDS)
    """How long the data connection of a transfer command that is not answered may take to come."""
    trust_pasv_address: Literal["server", "replace"] = "server"
    """Whether a 227 must name the server itself, or is taken to mean it, as with a server behind a
    NAT of its own that names its inside address (attack V01)."""
    strict_data_port: bool = False
    """Accept data connections only from port 20 or the port below the control port (attack F27)."""
    trace_users: bool = False
    """Whether `sallyport trace` shows the names that users log in with; it shows no password."""

    @property
    def hides_nothing(self) -> bool:
        """Whether commands must stay readable: TLS would let pass what is refused."""
        return self.tls == "refuse" or self.read_only or bool(self.deny)
