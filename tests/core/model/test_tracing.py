"""What a trace is made of, for whom, and that it is made for no other."""

from collections.abc import Mapping

import pytest
from tests.core.office import CLIENT, EXTERNAL, NEIGHBOUR, Office, Wire

from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.model.tracing import Interest
from sallyport.core.policy.terms import Frontend
from sallyport.errors import BindError, PolicyDenied
from sallyport.flags import BindFlags

A, B = CLIENT.address, NEIGHBOUR.address


def traced(office: Office, event: str = "") -> list[tuple[str, Mapping[str, object]]]:
    """Return the records of a trace so far."""
    records = office.world.journal.records
    return [one for one in records if one[1]["level"] == "trace" and one[0].endswith(event)]


def looking(client: IpAddress | None = None, session: str | None = None) -> Office:
    office = Office()
    office.gateway.tracing.look([Interest(1, True, client, session)])
    return office


def test_a_bind_is_traced_with_what_was_asked_each_step_and_the_kernels_work() -> None:
    office = looking(A)
    primary = office.dial()

    office.bind(primary, CLIENT, flags=BindFlags.TIMEOUT)

    ((_, admitted), (_, bind)) = traced(office, "decided")
    assert admitted["steps"] == [
        "client-network: internal",
        "peer-network: external",
        "relation: nat",
        "rule: allowed-by-rule (rule test rule)",
    ]
    assert (bind["asked"], bind["named"], bind["reason"]) == (
        "bind",
        "10.0.0.8:1553",
        "allowed-by-rule",
    )
    steps = bind["steps"]
    assert isinstance(steps, list)
    assert "within max_bindings_per_client: 0 of 64 (rule test rule)" in steps
    ((_, opened),) = traced(office, "carried_out")
    assert (opened["action"], str(opened["target"])) == ("open", "10.0.0.8:1553")
    assert isinstance(opened["microseconds"], float)


def test_what_is_closed_and_what_is_permitted_is_traced_too() -> None:
    office = looking(A)
    primary = office.dial()
    office.bind(primary, CLIENT).withdraw()
    office.allow(primary, "198.51.100.9:50000")

    assert [fields["action"] for _event, fields in traced(office, "carried_out")] == [
        "open",
        "close",
        "open",
    ]
    assert traced(office, "decided")[-1][1]["named"] == "198.51.100.9:50000"


def test_a_refusal_is_traced_with_the_step_that_says_no() -> None:
    office = looking(A)
    primary = office.dial()

    with pytest.raises(BindError):
        office.bind(primary, NEIGHBOUR)

    (_event, fields) = traced(office, "decided")[-1]
    assert fields["reason"] == "not-the-clients-address"
    steps = fields["steps"]
    assert isinstance(steps, list)
    assert steps[-1].startswith("refused allowed_addresses: 10.0.0.9 of client")


def test_a_connection_that_is_refused_is_traced_though_it_has_no_session() -> None:
    office = looking(A)

    with pytest.raises(PolicyDenied):
        office.admit(server="10.0.0.1:21")

    ((_event, fields),) = traced(office)
    assert fields["reason"] == "peer-is-gateway"


def test_nothing_is_traced_of_another_client_or_when_no_operator_looks() -> None:
    office = looking(B)
    office.bind(office.dial())
    assert traced(office) == []

    office.gateway.tracing.look([Interest(2)])
    office.bind(office.dial("10.0.0.9:50000"), NEIGHBOUR)
    assert traced(office) == []
    assert office.gateway.registry.observer is None


def test_a_session_that_runs_already_can_be_chosen_by_its_id_and_left_again() -> None:
    office = Office()
    primary, other = office.dial(), office.dial("10.0.0.9:50000")
    office.gateway.tracing.look([Interest(1, True, session=primary.session.id)])
    for one in (primary, other):
        one.chain.from_accepted(b"HELO\r\n")

    assert [(fields["session"], fields["text"]) for _event, fields in traced(office, "said")] == [
        (primary.session.id, "(6 bytes)")
    ] * 2

    office.gateway.tracing.look([])
    primary.chain.from_accepted(b"HELO\r\n")
    assert len(traced(office)) == 2
    assert sent(office, primary.id) == [b"HELO\r\n"] * 2


def sent(office: Office, connection: str) -> list[bytes]:
    wire: Wire = office.wires[connection]
    return wire.sent


def test_each_way_of_a_dialogue_is_told_apart() -> None:
    office = looking(A)
    primary = office.dial()
    primary.chain.from_accepted(b"ask")
    primary.chain.from_dialled(b"answer")

    assert [(one["sender"], one["receiver"]) for _event, one in traced(office, "said")] == [
        ("client", "gateway"),
        ("gateway", "server"),
        ("server", "gateway"),
        ("gateway", "client"),
    ]


def interested(office: Office, level: str, **fields: object) -> list[int]:
    return office.gateway.tracing.interested(level, fields)  # type: ignore[arg-type]


def test_who_looks_at_events_wants_every_record_but_those_of_a_trace() -> None:
    office = Office()
    office.gateway.tracing.look([Interest(7)])

    assert interested(office, "debug", session="s1") == [7]
    assert interested(office, "info") == [7]
    assert interested(office, "trace", session="s1") == []


def test_who_traces_wants_the_records_of_the_session_the_client_and_the_protocol() -> None:
    office = Office()
    session = office.dial().session.id
    office.gateway.tracing.look(
        [Interest(1, True, A), Interest(2, True, B), Interest(3, True, A, protocol="ftp")]
    )

    assert interested(office, "info", session=session) == [1, 3]
    assert interested(office, "warning", client=Endpoint(A, 5), protocol="tftp") == [1]
    assert interested(office, "warning", client=B) == [2]
    assert interested(office, "info", session="s99") == []
    assert interested(office, "info", addresses="10.0.0.8") == []


def test_who_traces_one_session_wants_nothing_of_the_clients_other_sessions() -> None:
    office = Office()
    office.gateway.tracing.look([Interest(1, True, A, session="s99")])

    assert interested(office, "info", session="s1", client=A) == []
    assert interested(office, "info", client=A) == []


def test_a_wish_for_a_port_of_ours_is_traced_with_what_the_rule_grants() -> None:
    office = Office(external_ports=PortRange(40010, 40019))
    office.gateway.tracing.look([Interest(1, True, A)])
    primary = office.dial()

    with pytest.raises(BindError):
        office.bind(primary, proxy_address=Endpoint(EXTERNAL, 40500), frontend=Frontend.PCP)

    steps = traced(office, "decided")[-1][1]["steps"]
    assert isinstance(steps, list)
    assert steps[-1] == "refused external_ports: 40500 of 40010-40019 (rule test rule)"


def test_who_traces_everything_misses_nothing() -> None:
    office = looking()
    office.bind(office.dial())

    assert traced(office, "decided")
    assert interested(office, "warning", client=B) == [1]
    assert interested(office, "info", problem="x") == [1]


def test_another_who_looks_does_not_make_a_trace_begin_anew_in_the_middle_of_a_line() -> None:
    office = looking(A)
    primary = office.dial()
    witness = primary.chain._witness
    office.gateway.tracing.look([Interest(1, True, A), Interest(2)])

    assert primary.chain._witness is witness
    office.gateway.tracing.look([Interest(2)])
    assert not primary.chain.is_watched
