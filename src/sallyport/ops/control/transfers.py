"""The rows of `transfers.list`: what runs through bindings and permissions, passive ones too."""

from collections.abc import Iterator
from typing import Literal

from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.adopted_transfer import AdoptedTransfer
from sallyport.core.model.binding import Binding
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.core.policy.rules import Asker
from sallyport.errors import NotFound
from sallyport.flags import Transport
from sallyport.ops.control.schema import TransferRow, worker_in

_Transfer = Negotiated | AdoptedTransfer


def rows(gateway: Gateway) -> Iterator[TransferRow]:
    """Yield a row for each connection that runs; asks the data paths for the bytes."""
    for session, transfer in _running(gateway):
        for counters in transfer.path.counters(transfer.pinhole.id):
            here, there = counters.from_peer_bytes, counters.to_peer_bytes
            is_inbound = _is_inbound(transfer)
            client = transfer.pinhole.target if is_inbound else counters.peer
            peer = counters.peer if is_inbound else transfer.pinhole.target
            age = gateway.clock() - _began(transfer)
            from_client, to_client = (there, here) if is_inbound else (here, there)
            direction: Literal["inbound", "outbound"] = "inbound" if is_inbound else "outbound"
            known = transfer if isinstance(transfer, Negotiated) else None
            yield TransferRow(
                id=_id(session, transfer),
                worker=worker_in(session.id),
                session=session.id,
                filter=known.protocol.name if known else None,
                rule=known.rule.name if known else None,
                frontend=str(asker_of(known).frontend) if known else None,
                user=asker_of(known).user if known else session.user,
                transport="tcp" if transfer.transport is Transport.TCP else "udp",
                direction=direction,
                client=str(client or session.client_address),
                peer=None if peer is None else str(peer),
                data_path=transfer.path.kind.value,
                age_seconds=round(age, 3),
                is_adopted=known is None,
                from_client_bytes=from_client,
                to_client_bytes=to_client,
                bytes_per_second=round((here + there) / age) if age > 0 else 0,
            )


def asker_of(asked: Negotiated | Binding) -> Asker:
    """Return who asked for what was opened: the client itself, or a filter on its connection."""
    if asked.asker is not None:
        return asked.asker
    way = asked.session.frontend if asked.primary is None else asked.primary.frontend
    return Asker(asked.session.user, way)


def kill(gateway: Gateway, wanted: object, reason: str) -> str:
    """Reset the transfer with this id at both ends and return the id; raises NotFound."""
    for session, transfer in _running(gateway):
        found = _id(session, transfer)
        if found == wanted:
            gateway.registry.kill(transfer, reason)
            return found
    raise NotFound(f"no transfer {wanted}")


def _running(gateway: Gateway) -> Iterator[tuple[Session, _Transfer]]:
    for session in tuple(gateway.sessions):
        for opening in tuple(session.openings.values()):
            if isinstance(opening, Negotiated | AdoptedTransfer) and opening.running:
                yield session, opening


def _id(session: Session, transfer: _Transfer) -> str:
    """Return the id of a transfer: `t5`, behind the mark of the session's worker, if any."""
    worker, dot, _number = session.id.rpartition(".")
    return f"{worker}{dot}t{transfer.pinhole.id}"


def _is_inbound(transfer: _Transfer) -> bool:
    if isinstance(transfer, AdoptedTransfer):
        return transfer.is_inbound
    return isinstance(transfer, SecondaryConnection)


def _began(transfer: _Transfer) -> float:
    if isinstance(transfer, AdoptedTransfer):
        return transfer.began
    if isinstance(transfer, FutureConnection):
        return transfer.created_at
    binding = transfer.binding if isinstance(transfer, SecondaryConnection) else None
    return 0.0 if binding is None else binding.created_at
