"""Every call of the filter API refuses an argument of a wrong type, by its name."""

import inspect
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from tests.core.office import CLIENT, FTP, Office, Witness, run

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import each, takes
from sallyport.core.model.chain import MISSING_END, Priority
from sallyport.core.model.events import ConnectTcp
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope, Source
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

SERVER = "198.51.100.9:3000"

# Passed on as it is; read as true or false; or a word for the log, in calls that never raise.
FREE = {"context", "armed", "shared", "check_publishing", "is_address_translated"}
FREE |= {"is_running", "reason", "explanation"}

# A value that each argument may have; what is not here has a default.
VALID: dict[str, Any] = {
    "client_addresses": [CLIENT],
    "transport": Transport.TCP,
    "protocol": FTP,
    "address": Endpoint.parse(SERVER),
    "addresses": [Endpoint.parse(SERVER)],
    "client_address": CLIENT,
    "proxy_address": Endpoint.parse("203.0.113.1:40000"),
    "host": ip_address("198.51.100.9"),
    "event": ConnectTcp,
    "make": DataFilter,
    "session_filter": Witness(),
    "seconds": 1,
    "ip_filter": None,
    "data_filter": DataFilter(),
    "count": 1,
    "remote_address": Endpoint.parse(SERVER),
    "client": CLIENT,
    "peer": Endpoint.parse(SERVER),
    "data": b"x",
    "is_held": True,
    "first": "10.0.0.1",
    "last": "10.0.0.9",
    "other": IpFilter(),
    "priority": Priority.NAT,
    "flags": BindFlags.NONE,
    "scope": Scope.PRIMARY,
    "sources": Source.ALL,
}


def calls() -> dict[str, Callable[..., Any]]:
    """Return every call of the filter API that takes arguments."""
    office = Office()
    primary = office.dial()
    binding = office.bind(primary)
    session, data_filter = primary.session, DataFilter()
    objects: dict[str, tuple[object, tuple[str, ...]]] = {
        "Session": (
            session,
            (
                "bind_for_client",
                "allow_future_connect",
                "redirect_connections",
                "emulate_client_bind",
                "retroactive_allow_bind",
                "host_access_check",
                "set_data_filter_factory",
            ),
        ),
        "Binding": (binding, ("set_peers", "extend", "wait")),
        "PrimaryConnection": (
            primary,
            (
                "attach_data_filter",
                "emulate_for_connect",
                "set_socket_name",
                "increment_bytes_sent",
            ),
        ),
        "SecondaryConnection": (
            binding.connections[0],
            (
                "attach_data_filter",
                "emulate_connection",
                "set_socket_name",
                "increment_bytes_sent",
                "set_client_address",
                "set_ip_filter",
                "send_to",
            ),
        ),
        "FutureConnection": (office.allow(primary, SERVER), ("wait", "send_to")),
        "DataFilter": (data_filter, ("set_deadline", "hold_client", "hold_server")),
        "Firewall": (office.gateway, ("client_session", "private_session")),
        "IpFilter": (
            IpFilter(),
            ("include_range", "exclude_range", "include_filter", "exclude_filter"),
        ),
    }
    return {
        f"{name}.{method}": getattr(one, method)
        for name, (one, methods) in objects.items()
        for method in methods
    }


def cases() -> Iterator[Any]:
    for name, call in calls().items():
        for argument in inspect.signature(call).parameters:
            if argument not in FREE:
                yield pytest.param(name, argument, id=f"{name}({argument})")


@pytest.mark.parametrize(("name", "argument"), list(cases()))
def test_an_argument_of_a_wrong_type_is_named(name: str, argument: str) -> None:
    call = calls()[name]
    wanted = inspect.signature(call).parameters
    given = {one: VALID[one] for one in wanted if one in VALID}
    if name.startswith("Firewall"):
        given["client"] = CLIENT.address

    with pytest.raises(InvalidArgument, match=rf"^wrong-type-of-{argument}$"):
        finished(call(**given | {argument: object()}))


def finished(result: object) -> None:
    if inspect.iscoroutine(result):
        run(result)


def test_what_is_no_event_is_not_registered_for_and_scope_and_sources_have_their_types() -> None:
    wrong: Any = object()

    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-events$"):
        Hooks.of(wrong)
    with pytest.raises(InvalidArgument, match=r"^not-an-event-to-register-for$"):
        Hooks.of(int)  # type: ignore[arg-type]
    for name in ("scope", "sources"):
        with pytest.raises(InvalidArgument, match=rf"^wrong-type-of-{name}$"):
            Hooks.of(ConnectTcp, **{name: wrong})


def test_an_ip_filter_is_of_addresses_networks_and_their_texts() -> None:
    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-items$"):
        IpFilter.of(167772161)  # type: ignore[arg-type]
    assert IpFilter().include_range("10.0.0.1", "10.0.0.9") == IpFilter().include_range(
        ip_address("10.0.0.1"), ip_address("10.0.0.9")
    )


def test_an_endpoint_has_an_address_and_not_the_text_of_one() -> None:
    with pytest.raises(TypeError, match=r"no IP address; Endpoint\.parse reads text"):
        Endpoint("10.0.0.8", 80)  # type: ignore[arg-type]


def test_positions_and_keywords_are_checked_alike_and_what_is_right_is_passed_on() -> None:
    @takes(number=int, text=str | None)
    def call(number: int, text: str | None = None, *, more: object = None) -> tuple[object, ...]:
        return number, text, more

    assert call(1, "a", more=2) == call(number=1, text="a", more=2) == (1, "a", 2)
    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-number$"):
        call("1")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-number$"):
        call(number="1")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-text$"):
        call(1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [7, None, "ab", [1, "2"]])
def test_a_sequence_has_items_of_one_type(wrong: Any) -> None:  # noqa: ANN401 - what it must not be
    with pytest.raises(InvalidArgument, match=r"^wrong-type-of-numbers$"):
        each("numbers", wrong, int)
    assert each("numbers", [1, 2], int) == (1, 2)


def test_an_end_without_a_socket_takes_what_it_drops() -> None:
    MISSING_END.send(b"x")
