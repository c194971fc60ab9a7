"""The bench in memory, with every call of the primitive made through the local API.

What a test looks at is the gateway's own binding; what it does to it goes as a line of JSON, and so
does the answer.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from tests.contract.memory_bench import MemoryBench
from tests.contract.places import CONTRACT, PUBLISHED, Way

from sallyport import errors
from sallyport.addresses import Endpoint, PortRange
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import (
    ConnectionRefused,
    ConnectionTerminating,
    EstablishedConnection,
    Event,
)
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import PublishingRule
from sallyport.flags import BindFlags, Transport
from sallyport.frontends.api.responder import ApiResponder
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.ipfilter import IpFilter

_ERRORS = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.BindError)
}


class ApiBench(MemoryBench):
    """A gateway in memory, asked by a process of user `tester`."""

    def __init__(
        self,
        way: Way,
        transport: Transport,
        filters: Sequence[ApplicationFilter],
        rule: Mapping[str, Any],
    ) -> None:
        # A forced port is a client's wish here, which the rule of the contract does not bound.
        super().__init__(way, transport, filters, {"external_ports": PortRange(1, 65535), **rule})
        self.gateway.policy = replace(
            self.gateway.policy, own_addresses={"external": (way.outside,)}
        )
        self._contexts: list[object] = []
        self._real: dict[str, Binding] = {}
        self._responder = ApiResponder(self.gateway, {}, "tester", tell=self._heard)

    def bind(self, *clients: Endpoint, **arguments: Any) -> Binding:  # noqa: ANN401 - any argument
        """See `Bench`."""
        if arguments.get("session_filter", self.witness) is not self.witness:
            pytest.skip("who is told is the process that has called")
        self._contexts.append(arguments.get("context"))
        where = clients or (self.client(),)
        primary: PrimaryConnection | None = arguments.get("primary", self.primary)
        if primary is not None and isinstance(primary.rule, PublishingRule):
            pytest.skip("a publishing rule lets no process use its protocol")
        flags: BindFlags = arguments.get("flags", BindFlags.NONE)
        sources: IpFilter | None = arguments.get("ip_filter")
        ports: frozenset[int] | None = arguments.get("peer_ports")
        proxy: Endpoint | None = arguments.get("proxy_address")
        keys = {
            "client": str((primary or self.primary).session.client_address),
            "primary": None if primary is None else primary.id,
            "client_addresses": [str(one) for one in where],
            "transport": arguments.get("transport", self.transport).name.lower(),
            "protocol": _name_of(arguments.get("protocol", CONTRACT)),
            "proxy_address": None if proxy is None else str(proxy),
            "flags": [str(flag.name).lower() for flag in flags],
            "ip_filter": None if sources is None else [f"{a}-{b}" for a, b in sources.ranges],
            "peer_ports": None if ports is None else sorted(ports),
            "context": len(self._contexts) - 1,
        }
        for name in ("backlog", "close_with_primary", "shared", "lifetime", "idle", "armed"):
            if name in arguments:
                keys[name] = arguments[name]
        bound = self.ask("bind", **keys)
        (real,) = [one for one in self.gateway.bindings() if one.id == bound["binding"]]
        self._real[real.id] = real
        return cast("Binding", BoundByApi(self, real))

    def ask(self, do: str, **keys: Any) -> Any:  # noqa: ANN401 - any key and any result
        """Send one request; return its result, or raise what it says instead."""
        line = json.dumps({"id": 1, "do": do, **keys}).encode()
        answer = json.loads(self.run(self._responder.answer(line)))
        fault = answer.get("error")
        if fault is None:
            return answer.get("result")
        if fault["code"] == "not-found":
            raise errors.Terminating("connection-has-ended")
        raise _ERRORS[fault["code"]](fault["reason"])

    def _heard(self, line: bytes) -> None:
        told = json.loads(line)
        real = self._real.get(told["binding"])
        if real is not None:
            context = self._contexts[told["context"]]
            self.witness.events.append(_event(told, real.connections[told["index"]], context))


class BoundByApi:
    """A binding as the bench's process has it: every verb is a request."""

    def __init__(self, bench: ApiBench, real: Binding) -> None:
        self._bench = bench
        self._real = real

    @property
    def connections(self) -> "tuple[PortByApi, ...]":
        return tuple(PortByApi(self._bench, self._real, one) for one in self._real.connections)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a binding has
        return getattr(self._real, name)

    async def arm(self) -> None:
        self._bench.ask("arm", binding=self._real.id)

    async def set_peers(
        self, ip_filter: IpFilter | None, peer_ports: frozenset[int] | None = None
    ) -> None:
        self._bench.ask(
            "set_ip_filter",
            binding=self._real.id,
            ip_filter=_texts(ip_filter),
            peer_ports=None if peer_ports is None else sorted(peer_ports),
        )

    def extend(self, seconds: float) -> float:
        return float(self._bench.ask("extend", binding=self._real.id, seconds=seconds))

    def withdraw(self, reason: str = "") -> None:
        self._quietly("withdraw")

    def kill(self, reason: str = "") -> None:
        self._quietly("kill")

    def _quietly(self, verb: str) -> None:
        with suppress(errors.Terminating):  # as above
            self._bench.ask(verb, binding=self._real.id)


class PortByApi:
    """One port of such a binding."""

    def __init__(self, bench: ApiBench, binding: Binding, real: SecondaryConnection) -> None:
        self._bench = bench
        self._binding = binding
        self._real = real

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a connection has
        return getattr(self._real, name)

    def __eq__(self, other: object) -> bool:
        return self._real is getattr(other, "_real", other)

    def __hash__(self) -> int:
        return hash(id(self._real))

    async def set_client_address(self, client: Endpoint) -> None:
        self._bench.ask(
            "set_client_address",
            binding=self._binding.id,
            index=self._real.index,
            client_address=str(client),
        )

    async def set_ip_filter(self, ip_filter: IpFilter | None) -> None:
        self._bench.ask(
            "set_ip_filter",
            binding=self._binding.id,
            index=self._real.index,
            ip_filter=_texts(ip_filter),
        )

    def kill(self, reason: str = "") -> None:
        with suppress(errors.Terminating):  # the verb is idempotent
            self._bench.ask("kill", binding=self._binding.id, index=self._real.index)


def _name_of(protocol: ProtocolDefinition | UUID) -> str:
    if isinstance(protocol, UUID) or protocol in (CONTRACT, PUBLISHED):
        return str(getattr(protocol, "name", protocol))
    return PORT_MAPPING.name  # known to the API, and granted by no rule of the contract


def _texts(ip_filter: IpFilter | None) -> list[str] | None:
    return None if ip_filter is None else [f"{a}-{b}" for a, b in ip_filter.ranges]


def _event(told: dict[str, Any], connection: SecondaryConnection, context: object) -> Event:
    peer = None if told["peer"] is None else Endpoint.parse(told["peer"])
    if told["event"] == "closed":
        traffic = Traffic(told["flows"], told["from_peer_bytes"], told["to_peer_bytes"])
        return ConnectionTerminating(connection, told["reason"], traffic, context)
    assert peer is not None
    if told["event"] == "refused":
        return ConnectionRefused(connection, peer, context)
    return EstablishedConnection(connection, peer, context)
