"""The filter API: all of Sallyport that a protocol filter imports, besides wire formats.

Begin with `ApplicationFilter`. The version is `API_VERSION`; a filter declares the version it was
written for, and a gateway of another version refuses it.
"""

from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.model.binding import Binding
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import Connection, PrimaryConnection
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionRefused,
    ConnectionTerminating,
    ConnectTcp,
    EstablishedConnection,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.factory import FirewallAction
from sallyport.core.model.filter import (
    API_VERSION,
    ApplicationFilter,
    DataFilter,
    Firewall,
    SessionFilter,
)
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.hooks import Hooks, Scope, Source
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.core.model.transcript import Hop, Transcript, counted
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Rule, Verdict
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    AlreadyEmulated,
    AlreadyExists,
    BadContext,
    BindError,
    DeclarationError,
    InvalidArgument,
    KernelError,
    NoSuchBind,
    NotEmulated,
    OutOfResources,
    PolicyDenied,
    ProtocolError,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, ConnectionFlags, SessionFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.wire.guard import FirstBytes, foreign_protocol, foreign_server
from sallyport.wire.lines import Line, LineReader

__all__ = [
    "API_VERSION",
    "AcceptedConnection",
    "AddressInUse",
    "AddressNotAllowed",
    "AddressNotAvailable",
    "AlreadyEmulated",
    "AlreadyExists",
    "ApplicationFilter",
    "BadContext",
    "BindError",
    "BindFlags",
    "BindTcp",
    "BindUdp",
    "Binding",
    "Bundle",
    "ConnectTcp",
    "Connection",
    "ConnectionFlags",
    "ConnectionRefused",
    "ConnectionTerminating",
    "DataFilter",
    "DeclarationError",
    "Direction",
    "Endpoint",
    "EstablishedConnection",
    "Event",
    "Firewall",
    "FirewallAction",
    "FirstBytes",
    "FutureConnection",
    "Hooks",
    "Hop",
    "InvalidArgument",
    "IpAddress",
    "IpFilter",
    "KernelError",
    "Line",
    "LineReader",
    "Listen",
    "NoSuchBind",
    "NotEmulated",
    "OutOfResources",
    "PolicyDenied",
    "PortRange",
    "PrimaryConnection",
    "Priority",
    "ProtocolDefinition",
    "ProtocolError",
    "QuotaExceeded",
    "Rule",
    "Scope",
    "SecondaryConnection",
    "Session",
    "SessionFilter",
    "SessionFlags",
    "Source",
    "State",
    "StreamEnd",
    "Terminating",
    "Traffic",
    "Transcript",
    "Transport",
    "UdpDestination",
    "Verdict",
    "counted",
    "foreign_protocol",
    "foreign_server",
]
