"""The local API beside the primitive: every parameter, flag and error of it, and its page."""

import inspect
import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tests.frontends.api.test_responder import BIND, CLIENT, PEER, Processes

from sallyport import client as clients
from sallyport import errors
from sallyport.addresses import Endpoint
from sallyport.core.model.session import Session
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import BindError, KernelError, PolicyDenied
from sallyport.flags import BindFlags, Transport
from sallyport.frontends.api.responder import ApiResponder
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.ipfilter import IpFilter
from sallyport.wire import api

PAGE = Path(__file__).parents[3] / "docs/reference/local_api.md"
TEXT = PAGE.read_text(encoding="utf-8")
PARAMETERS = list(inspect.signature(Session.bind_for_client).parameters)[1:]
FTP = ProtocolDefinition("ftp", Transport.TCP, 21)

# What a request says, and what reaches the primitive by it.
SAID: dict[str, tuple[dict[str, Any], object]] = {
    "client_addresses": ({"client_addresses": [str(CLIENT), "10.0.0.8:1"]}, None),
    "transport": ({"transport": "udp"}, Transport.UDP),
    "protocol": ({"protocol": str(UUID(int=5))}, UUID(int=5)),
    "proxy_address": ({"proxy_address": "203.0.113.1:0"}, Endpoint.parse("203.0.113.1:0")),
    "flags": (
        {"flags": ["timeout", "bidirectional"]},
        BindFlags.TIMEOUT | BindFlags.BIDIRECTIONAL,
    ),
    "backlog": ({"backlog": 9}, 9),
    "context": ({"context": {"job": [1, None]}}, {"job": [1, None]}),
    "ip_filter": (
        {"ip_filter": ["203.0.113.9", "198.51.100.0/24"]},
        IpFilter.of("203.0.113.9", "198.51.100.0/24"),
    ),
    "peer_ports": ({"peer_ports": [20, 21]}, frozenset({20, 21})),
    "lifetime": ({"lifetime": 60}, 60),
    "idle": ({"idle": 2.5}, 2.5),
    "shared": ({"shared": True}, True),
    "close_with_primary": ({"close_with_primary": "kill"}, "kill"),
    # Here reserved and then armed in a second step, so that its owner is known in between.
    "armed": ({"armed": True}, False),
    # Who asks is who is there, and not what is said.
    "frontend": ({}, Frontend.API),
    "user": ({}, "alice"),
}
# Each has a test of its own below, or is a filter's alone: it runs in the gateway.
FILTERS_ALONE = {"bundle", "make_data_filter"}
ELSEWHERE = {"primary", "session_filter", *FILTERS_ALONE}
NOT_SAID = {"frontend", "user", "session_filter", *FILTERS_ALONE}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the arguments of every call of the primitive, each of which is refused."""
    calls: list[dict[str, Any]] = []

    async def refuse(_session: Session, client_addresses: object, **arguments: object) -> None:
        calls.append({"client_addresses": client_addresses, **arguments})
        raise PolicyDenied("no-rule-for-protocol")

    monkeypatch.setattr(Session, "bind_for_client", refuse)
    return calls


def test_no_parameter_is_missing() -> None:
    assert {*SAID, *ELSEWHERE} == set(PARAMETERS)


@pytest.mark.parametrize("parameter", SAID)
def test_a_parameter_reaches_the_primitive_as_it_was_said(
    asked: list[dict[str, Any]], parameter: str
) -> None:
    keys, expected = SAID[parameter]
    if parameter == "client_addresses":
        expected = [Endpoint.parse(text) for text in keys["client_addresses"]]
    Processes().process().refused("bind", **(BIND | keys))

    (call,) = asked
    assert call[parameter] == expected


@pytest.mark.parametrize("parameter", [one for one in PARAMETERS if one not in NOT_SAID])
def test_a_parameter_has_its_place_on_the_page(parameter: str) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `bind` |"))
    assert f"`{parameter}`" in row


@pytest.mark.parametrize("flag", BindFlags, ids=lambda flag: flag.name)
def test_a_flag_reaches_the_primitive_by_its_name_in_small_letters(
    asked: list[dict[str, Any]], flag: BindFlags
) -> None:
    Processes().process().refused("bind", **BIND, flags=[str(flag.name).lower()])

    assert asked[0]["flags"] is flag


def test_without_a_word_of_them_parameters_are_what_the_primitive_has(
    asked: list[dict[str, Any]],
) -> None:
    Processes().process().refused("bind", **BIND)

    (call,) = asked
    for name, parameter in inspect.signature(Session.bind_for_client).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name in SAID:
            own = {"armed": False, "frontend": Frontend.API, "user": "alice"}
            assert call[name] == own.get(name, parameter.default), name
    assert call["protocol"] is PORT_MAPPING
    assert isinstance(call["session_filter"], ApiResponder)


# -- the primary ----------------------------------------------------------------------------------


def test_a_binding_ends_with_the_control_connection_that_it_names() -> None:
    processes = Processes(protocols=frozenset({"ftp", "port-mapping"}))
    primary = processes.gateway.admit_primary(FTP, CLIENT.with_port(50000), PEER.with_port(21))
    process = processes.process()
    process.bind(primary=primary.id, client="10.0.0.8")
    (binding,) = processes.gateway.bindings()
    assert (binding.session, binding.user) == (primary.session, "alice")
    assert binding.frontend is Frontend.API
    primary.close("over")

    assert [event["reason"] for event in process.heard] == ["primary-ended"]


def test_the_connection_of_another_client_and_one_that_has_ended_are_none() -> None:
    processes = Processes(protocols=frozenset({"ftp", "port-mapping"}))
    primary = processes.gateway.admit_primary(
        FTP, Endpoint.parse("10.0.0.7:50000"), PEER.with_port(21)
    )
    ended = ("terminating", "primary-has-ended", 0xC0040001)

    assert processes.process().refused("bind", **BIND, primary=primary.id) == ended
    assert processes.process().refused("bind", **BIND, primary="c99") == ended


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"users": frozenset({"bob"})}, "no-rule-for-this-user"),
        ({"frontends": frozenset({Frontend.TRANSPARENT})}, "no-rule-for-this-frontend"),
    ],
)
def test_what_its_control_connection_was_granted_is_not_granted_to_a_process(
    rule: dict[str, Any], reason: str
) -> None:
    processes = Processes(**rule)
    primary = processes.gateway.admit_primary(
        PORT_MAPPING, CLIENT.with_port(50000), PEER, Asker("bob", Frontend.TRANSPARENT)
    )
    code, told, _ = processes.process().refused("bind", **BIND, primary=primary.id)

    assert (code, told) == ("policy-denied", reason)


# -- errors ---------------------------------------------------------------------------------------

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, BindError) and kind is not BindError
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_primitive_reaches_a_process_with_code_reason_and_number(
    monkeypatch: pytest.MonkeyPatch, kind: type[BindError]
) -> None:
    error = KernelError("open", 5) if kind is KernelError else kind("no-rule-for-protocol")

    async def refuse(_session: Session, *_: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(Session, "bind_for_client", refuse)
    told = Processes().process().refused("bind", **BIND)
    assert told == (kind.code, error.reason, kind.hresult)

    answer = api.read_message(
        json.dumps({"id": 1, "error": {"code": told[0], "reason": told[1], "message": ""}}).encode()
    )
    assert isinstance(answer, api.ApiAnswer)
    with pytest.raises((kind, clients.ApiError)) as caught:
        clients._result(answer)
    assert caught.value.code == kind.code  # type: ignore[attr-defined]


# -- the page -------------------------------------------------------------------------------------


def test_the_page_has_every_key_of_every_request_and_every_field_of_an_event() -> None:
    rows = {}
    for line in TEXT.splitlines():
        if found := re.match(r"\| `(\w+)` \|(.*)", line):
            rows[found[1]] = found[2]
    for request in api.ApiRequest.__subclasses__():
        verb = str(request.__struct_config__.tag)
        said = {field.encode_name for field in msgspec.structs.fields(request)} - {"id"}
        assert said <= set(re.findall(r"`(\w+)`", rows[verb])), verb
    for field in msgspec.structs.fields(api.ApiEvent):
        assert f"`{field.encode_name}`" in TEXT, field.encode_name
    for field in msgspec.structs.fields(api.ApiFault):
        assert f"`{field.encode_name}`" in TEXT, field.encode_name
