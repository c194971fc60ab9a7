"""The rows of `transfers.list`: what runs through bindings and permissions, passive ones too."""

from collections.abc import Iterator
from typing import Literal

from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.errors import NotFound
from sallyport.flags import Transport
from sallyport.ops.control.schema import TransferRow


def rows(gateway: Gateway) -> Iterator[TransferRow]:
    """Yield a row for each connection that runs; asks the data paths for the bytes."""
    for session, negotiated in _running(gateway):
        for counters in negotiated.path.counters(negotiated.pinhole.id):
            here, there = counters.from_peer_bytes, counters.to_peer_bytes
            is_bound = isinstance(negotiated, SecondaryConnection)
            client = negotiated.pinhole.target if is_bound else counters.peer
            peer = counters.peer if is_bound else negotiated.pinhole.target
            age = gateway.clock() - _created_at(negotiated)
            from_client, to_client = (there, here) if is_bound else (here, there)
            direction: Literal["inbound", "outbound"] = "inbound" if is_bound else "outbound"
            yield TransferRow(
                id=_id(session, negotiated),
                session=session.id,
                filter=negotiated.protocol.name,
                rule=negotiated.rule.name,
                transport="tcp" if negotiated.transport is Transport.TCP else "udp",
                direction=direction,
                client=str(client or session.client_address),
                peer=None if peer is None else str(peer),
                data_path=negotiated.path.kind.value,
                age_seconds=round(age, 3),
                from_client_bytes=from_client,
                to_client_bytes=to_client,
                bytes_per_second=round((here + there) / age) if age > 0 else 0,
            )


def kill(gateway: Gateway, wanted: object, reason: str) -> str:
    """Reset the transfer with this id at both ends and return the id; raises NotFound."""
    for session, negotiated in _running(gateway):
        found = _id(session, negotiated)
        if found == wanted:
            gateway.registry.kill(negotiated, reason)
            return found
    raise NotFound(f"no transfer {wanted}")


def _running(gateway: Gateway) -> Iterator[tuple[Session, Negotiated]]:
    for session in tuple(gateway.sessions):
        for negotiated in tuple(session.openings.values()):
            if isinstance(negotiated, Negotiated) and negotiated.running:
                yield session, negotiated


def _id(session: Session, negotiated: Negotiated) -> str:
    """Return the id of a transfer: `t5`, behind the mark of the session's worker, if any."""
    worker, dot, _number = session.id.rpartition(".")
    return f"{worker}{dot}t{negotiated.pinhole.id}"


def _created_at(negotiated: Negotiated) -> float:
    if isinstance(negotiated, FutureConnection):
        return negotiated.created_at
    binding = negotiated.binding if isinstance(negotiated, SecondaryConnection) else None
    return 0.0 if binding is None else binding.created_at
