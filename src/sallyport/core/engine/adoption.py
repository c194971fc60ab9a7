"""Adoption: the transfers of a process that died belong to their clients' sessions again.

They are listed, counted against the client's quota, can be killed, and their end is recorded. What
an earlier process knew besides, the filter, the rule and the user, died with it.
"""

from collections.abc import Callable

from sallyport.addresses import IpAddress
from sallyport.core.engine.session_table import SessionTable
from sallyport.core.model.adopted_transfer import AdoptedTransfer
from sallyport.core.model.engine import Engine
from sallyport.core.pinholes.datapath import DataPath, FoundFlows, Orphan, Pinhole
from sallyport.core.policy.rules import Policy
from sallyport.flags import Transport


class Adoption:
    """Finds transfers without a process and takes in those of this gateway's clients."""

    def __init__(
        self,
        engine: Engine,
        sessions: SessionTable,
        path: DataPath,
        found: FoundFlows,
        serves: Callable[[IpAddress], bool],
    ) -> None:
        """`found` is a part of `path`; `serves` tells whether a client belongs to this worker."""
        self._engine = engine
        self._sessions = sessions
        self._path = path
        self._found = found
        self._serves = serves

    def look(self) -> int:
        """Adopt what there is and return how many; raises KernelError."""
        return sum(map(self._adopt, self._found.find()))

    def _adopt(self, orphan: Orphan) -> bool:
        is_inbound = _is_inbound(self._engine.policy, orphan)
        client = orphan.target if is_inbound else orphan.source
        if not (orphan.is_left_to_us or self._serves(client.address)):
            return False
        known = self._sessions.of(client.address)
        session = known or self._sessions.begin(client.address)
        is_udp = orphan.transport is Transport.UDP
        pinhole = Pinhole(
            self._engine.registry.new_id(),
            orphan.transport,
            orphan.listen,
            orphan.target,
            None,
            is_answered=is_udp,
        )
        transfer = AdoptedTransfer(
            self._engine,
            pinhole,
            path=self._path,
            is_timed=is_udp,
            session=session,
            is_inbound=is_inbound,
        )
        session.hold(transfer, None)
        self._engine.registry.add(transfer)
        if not self._found.adopt(pinhole, orphan):
            self._engine.registry.kill(transfer, "gone-before-adoption")
            return False
        return True


def _is_inbound(policy: Policy, orphan: Orphan) -> bool:
    """Whether the side that opened the flow is the peer.

    Between two inside networks a routed flow does not tell; it counts as the opener's.
    """
    opener, other = (policy.network_of(one.address) for one in (orphan.source, orphan.target))
    if opener is None or policy.is_outside(opener):
        return True
    is_to_inside = other is not None and not policy.is_outside(other)
    return is_to_inside and orphan.listen != orphan.target
