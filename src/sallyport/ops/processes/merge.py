"""One answer for an operator out of those of all workers; pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from sallyport.addresses import parse_address
from sallyport.errors import NotFound
from sallyport.frontends.socks.destinations import plain
from sallyport.kernel.sharding import worker_of
from sallyport.ops.control.schema import (
    Bindings,
    Document,
    Killed,
    Sessions,
    Status,
    Transfers,
    address_in,
    worker_in,
)


@dataclass(frozen=True, slots=True)
class Destination:
    """The request concerns one worker, by its number or by its share; or any of them can answer."""

    number: int | None = None
    index: int | None = None
    """Its place among those that share the clients, from 0 on."""


def destination(
    command: str, arguments: Mapping[str, object], workers: int = 1
) -> Destination | None:
    """Return whom a request concerns; None is all of the `workers`."""
    if command == "explain":
        try:
            client = plain(parse_address(str(arguments.get("client"))))
        except ValueError:
            return Destination()
        return Destination(index=worker_of(client, workers))
    if command in _MERGED and (command != _KILL or address_in(arguments.get("id"))):
        return None
    return Destination(worker_in(str(arguments.get("id", ""))))


def merge(command: str, answers: Sequence[Raw]) -> Document:
    """Put the answers of several workers to one command together, in their order."""
    return _MERGED[command](answers)


def _sessions(answers: Sequence[Raw]) -> Sessions:
    parts = [msgspec.json.decode(answer, type=Sessions) for answer in answers]
    return Sessions(sessions=[row for part in parts for row in part.sessions])


def _bindings(answers: Sequence[Raw]) -> Bindings:
    parts = [msgspec.json.decode(answer, type=Bindings) for answer in answers]
    return Bindings(bindings=[row for part in parts for row in part.bindings])


def _transfers(answers: Sequence[Raw]) -> Transfers:
    parts = [msgspec.json.decode(answer, type=Transfers) for answer in answers]
    return Transfers(transfers=[row for part in parts for row in part.transfers])


def _status(answers: Sequence[Raw]) -> Status:
    parts = [msgspec.json.decode(answer, type=Status) for answer in answers]
    refusals: Counter[str] = Counter()
    for part in parts:
        refusals.update(part.refusals)
    return msgspec.structs.replace(
        parts[0],
        sessions=sum(part.sessions for part in parts),
        controls=sum(part.controls for part in parts),
        bindings=sum(part.bindings for part in parts),
        refusals=dict(refusals),
        log_records_lost=sum(part.log_records_lost for part in parts),
        degraded="; ".join(dict.fromkeys(part.degraded for part in parts if part.degraded)) or None,
    )


def _killed(answers: Sequence[Raw]) -> Killed:
    parts = [msgspec.json.decode(answer, type=Killed) for answer in answers]
    if not any(part.sessions or part.controls for part in parts):
        raise NotFound("no session and no connection of this client")
    return Killed(
        sessions=[one for part in parts for one in part.sessions],
        bindings=[one for part in parts for one in part.bindings],
        controls=[one for part in parts for one in part.controls],
    )


# By an address it concerns all workers: a client outside has a connection where its server is.
_KILL = "sessions.kill"

_MERGED: Mapping[str, Callable[[Sequence[Raw]], Document]] = {
    "status": _status,
    "sessions.list": _sessions,
    "bindings.list": _bindings,
    "transfers.list": _transfers,
    _KILL: _killed,
}
