"""The shape of a reason."""

from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """Where a reason comes from, which is also who can do something about it."""

    POLICY = "policy"
    """The rules say no: the administrator can change them."""
    RESOURCES = "resources"
    """Something has run out or is taken: a limit, a port, the kernel."""
    PEER = "peer"
    """A client or a server sent what its protocol does not allow."""
    END = "end"
    """Why a connection, a binding or a permission ended."""
    CALL = "call"
    """A filter, or a program that uses the API, made a call that cannot mean anything."""
    OPERATION = "operation"
    """Configuration, commands and the daemon itself."""
    CLASS = "class"
    """The class of an error: `code` in a record beside its `reason`."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One code and its meaning; each text is one or two whole sentences."""

    code: str
    group: Group
    happened: str
    """What the gateway saw or decided."""
    means: str
    """What that means for the people and programs concerned."""
    remedy: str
    """What to do: names the configuration key where there is one."""
    key: str | None = None
    """The configuration key that changes it, such as `access_rules.max_bindings_per_client`."""
