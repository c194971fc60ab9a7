import msgspec
import pytest
from msgspec import Raw

from sallyport.errors import NotFound
from sallyport.ops.control.schema import Killed, SessionRow, Sessions, Status
from sallyport.ops.processes.merge import Destination, destination, merge


def raw(document: object) -> Raw:
    return Raw(msgspec.json.encode(document))


def status(sessions: int, refusals: dict[str, int]) -> Status:
    return Status(
        release="1",
        pid=1,
        uptime_seconds=1.0,
        data_path="kernel",
        port_range="40000-49999",
        networks=["internal"],
        supervised=["ftp"],
        unsupervised=[],
        sessions=sessions,
        controls=2 * sessions,
        bindings=3 * sessions,
        refusals=refusals,
        log_records_lost=sessions,
    )


def test_counters_are_summed() -> None:
    both = [raw(status(1, {"a": 1, "b": 2})), raw(status(4, {"b": 5}))]

    together = merge("status", both)

    assert together == msgspec.structs.replace(status(5, {"a": 1, "b": 7}), sessions=5)


def test_what_was_ended_of_a_client_is_put_together_and_nothing_is_not_found() -> None:
    nothing = Killed(sessions=[], bindings=[])
    some = Killed(sessions=["w2.s1"], bindings=[], controls=["a > b"])

    assert merge("sessions.kill", [raw(nothing), raw(some)]) == some
    with pytest.raises(NotFound, match="of this client"):
        merge("sessions.kill", [raw(nothing)])


def test_rows_are_put_together_in_the_order_of_the_workers() -> None:
    rows = [
        SessionRow(id=f"w{n}.s1", client="10.0.0.8", since="now", controls=[], bindings=0)
        for n in (1, 2)
    ]

    together = merge("sessions.list", [raw(Sessions(sessions=[row])) for row in rows])

    assert together == Sessions(sessions=rows)


@pytest.mark.parametrize(
    ("command", "arguments", "whom"),
    [
        ("status", {}, None),
        ("bindings.list", {}, None),
        ("transfers.list", {}, None),
        ("transfers.kill", {"id": "w2.t7"}, Destination(2)),
        ("sessions.show", {"id": "w2.s5"}, Destination(2)),
        ("bindings.kill", {"id": "w12.b5"}, Destination(12)),
        ("sessions.show", {"id": "nonsense"}, Destination()),
        ("sessions.kill", {"id": "w2.s5"}, Destination(2)),
        ("sessions.kill", {"id": "203.0.113.66"}, None),
        ("rules.show", {}, Destination()),
        ("explain", {"client": "10.0.0.8"}, Destination(index=0)),
        ("explain", {"client": "nonsense"}, Destination()),
    ],
)
def test_an_id_says_whose_it_is(
    command: str, arguments: dict[str, object], whom: Destination | None
) -> None:
    assert destination(command, arguments) == whom


def test_what_is_asked_about_a_client_goes_to_the_worker_that_serves_it() -> None:
    clients = [f"10.0.0.{number}" for number in range(1, 100)]
    asked = {destination("explain", {"client": client}, 3) for client in clients}

    assert asked == {Destination(index=0), Destination(index=1), Destination(index=2)}
    for client in clients:
        mapped = destination("explain", {"client": f"::ffff:{client}"}, 3)
        assert mapped == destination("explain", {"client": client}, 3)


def test_what_troubles_several_workers_is_said_once() -> None:
    parts = [
        msgspec.structs.replace(status(1, {}), degraded=trouble)
        for trouble in (None, "filter ftp is off", "filter ftp is off", "no free tcp port")
    ]
    together = merge("status", [raw(part) for part in parts])

    assert isinstance(together, Status)
    assert together.degraded == "filter ftp is off; no free tcp port"
