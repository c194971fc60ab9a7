"""Grants: what the rules and their limits say about one request, without any effect.

A request meets them here before anything is opened, and so does the question of what would be: the
trail of a decision is written by the code that decides.
"""

from ipaddress import ip_network
from typing import TYPE_CHECKING

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.request import BindRequest
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker, Policy, PublishingRule, Relation, Rule
from sallyport.core.policy.terms import AllowedAddresses, Peers
from sallyport.core.policy.trail import Trail
from sallyport.errors import (
    AddressNotAllowed,
    BindError,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags

if TYPE_CHECKING:
    from sallyport.core.model.session import Session

_WIDENED_BY = {
    BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK: AllowedAddresses.CLASS_C,
    BindFlags.ALLOW_ADDRESSES_IN_NETWORK: AllowedAddresses.NETWORK,
    BindFlags.ALLOW_ADDRESSES_ALL: AllowedAddresses.ALL,
}

# "Class C" is taken literally as /24 (semantics 12, slip 9). IPv6 has no classes; a /64 is the
# block of neighbours a /24 was meant to be.
_NEIGHBOURS = {4: 24, 6: 64}


class Grants:
    """Asks policy, and holds requests against the limits of the rule that lets them be."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check(
        self, request: BindRequest, trail: Trail | None = None, *, minute: int | None = None
    ) -> tuple[ProtocolDefinition, Rule, Relation]:
        """Check what is asked for against the rules and their limits, without any effect.

        Return the protocol, and the rule and relation that let it be. `trail` is told each step.
        Raises as `Session.bind_for_client`.
        """
        request.require_sense()
        session, primary = request.session, request.primary
        protocol = self._engine.protocol(request.protocol)
        if request.bundle is not None and request.bundle.is_over:
            raise Terminating("bundle-has-ended")
        rule, relation = self.ask_policy(
            session,
            protocol,
            primary,
            asker=request.asker,
            trail=trail,
            minute=minute,
            may_be_over=request.bundle is not None,
        )
        try:
            for client in request.client_addresses:
                self.check_client_address(session, client, request.flags, rule, trail)
            if request.ip_filter is None or trail is not None:
                self._check_peers(request, rule, trail)
            if request.frontend is not None:
                self._check_external_port(request, rule, trail)
            self.check_quota(session, primary, rule, len(request.client_addresses), trail)
        except BindError as refusal:
            refusal.rule = rule.name
            raise
        return protocol, rule, relation

    def ask_policy(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None,
        peer: IpAddress | None = None,
        *,
        asker: Asker | None = None,
        trail: Trail | None = None,
        minute: int | None = None,
        may_be_over: bool = False,
    ) -> tuple[Rule, Relation]:
        """Return the rule and relation that let a session's client use `protocol`.

        `peer` None: towards the peer of `primary`, or, without one, towards anyone. `may_be_over`:
        the primary only says whom the rules are asked about. `asker`: who asks by a front end;
        None: a filter does, on behalf of the session. Raises PolicyDenied; Terminating when the
        session or the primary is over.
        """
        if session.is_ending:
            raise Terminating("session-is-over")
        if primary is not None:
            is_over = not (primary.is_open or may_be_over)
            if is_over or primary.session is not session:
                raise Terminating("primary-has-ended")
        policy = self._engine.policy
        # What was granted to another user, or in another way, is not granted to this one by that.
        known = primary
        if primary is not None and asker is not None:
            known = primary if asker == (session.user, primary.frontend) else None
        if known is not None and peer is None and known.is_granted(protocol, policy):
            return known.rule, known.relation
        if known is not None and isinstance(known.rule, PublishingRule):
            # Such a rule lets one client outside reach one server, and no more.
            if peer not in (None, known.peer.address):
                raise PolicyDenied("peer-is-not-the-published-connections")
            verdict = policy.decide_published(
                known.rule, protocol.name, known.peer.address, trail=trail
            )
        else:
            peer = primary.peer.address if primary is not None and peer is None else peer
            way = session.frontend if primary is None else primary.frontend
            verdict = policy.decide(
                protocol.name,
                session.client_address,
                peer,
                asker or Asker(session.user, way),
                minute=self._minute(policy) if minute is None else minute,
                trail=trail,
            )
        if not verdict.allowed:
            raise PolicyDenied(verdict.reason)
        assert verdict.rule is not None  # noqa: S101 - an allowing verdict has both
        assert verdict.relation is not None  # noqa: S101
        return verdict.rule, verdict.relation

    def _minute(self, policy: Policy) -> int | None:
        return self._engine.minute_of_week() if policy.is_timed else None

    def check_client_address(
        self,
        session: "Session",
        client: Endpoint,
        flags: BindFlags,
        rule: Rule,
        trail: Trail | None = None,
    ) -> None:
        """One bad address fails the whole call (SDK return code 5)."""
        if client.is_zero:
            # Not known yet: the same check waits for it in `complete`.
            if client.version != session.client_address.version:
                raise AddressNotAllowed("not-the-clients-address")
            return
        own = session.client_address
        is_allowed = client.address == own or self._is_allowed(own, client.address, flags, rule)
        fault = rule.client_port_fault(client.port)
        if trail is not None:
            trail.limit(
                "allowed_addresses",
                rule.name,
                value=rule.allowed_addresses.name.lower().replace("_", "-"),
                used=client.address,
                is_kept=is_allowed,
            )
            if is_allowed:
                trail.limit(
                    "client_ports",
                    rule.name,
                    value=rule.client_ports,
                    used=client.port,
                    is_kept=fault is None,
                )
        if not is_allowed:
            raise AddressNotAllowed("not-the-clients-address")
        if fault is not None:
            raise AddressNotAllowed(fault)

    def _is_allowed(
        self, client: IpAddress, address: IpAddress, flags: BindFlags, rule: Rule
    ) -> bool:
        """Whether a client may name an address that is not its own."""
        policy = self._engine.policy
        # Nothing translates between families; a pinhole never leads to the gateway (attack X08).
        if address.version != client.version or policy.is_own(address):
            return False
        asked = (allowed for flag, allowed in _WIDENED_BY.items() if flag in flags)
        # The administrator's default is OR-ed in (DefaultAllowedAddressesInBindForClient).
        widest = max(asked, default=AllowedAddresses.CLIENT)
        widest = max(widest, rule.allowed_addresses)
        if widest is AllowedAddresses.ALL:
            return True
        if widest is AllowedAddresses.NETWORK:
            return policy.network_of(address) == policy.network_of(client)
        if widest is AllowedAddresses.CLASS_C:
            return address in ip_network((client, _NEIGHBOURS[client.version]), strict=False)
        return False

    @staticmethod
    def _check_peers(request: BindRequest, rule: Rule, trail: Trail | None) -> None:
        """Check that the request names who may connect, where the rule wants that."""
        is_kept = rule.peers is Peers.ANY or request.ip_filter is not None
        if trail is not None:
            used = "anyone" if request.ip_filter is None else request.ip_filter
            trail.limit("peers", rule.name, value=rule.peers, used=used, is_kept=is_kept)
        if not is_kept:
            raise PolicyDenied("peers-are-not-named")

    def _check_external_port(self, request: BindRequest, rule: Rule, trail: Trail | None) -> None:
        """Check a client's wish for a port of ours; a filter's is part of its protocol."""
        wanted = request.proxy_address
        if wanted is None or wanted.port == 0:
            return
        granted = rule.external_ports or self._engine.port_range
        last = wanted.port + len(request.client_addresses) - 1
        is_kept = wanted.port in granted and last in granted
        if trail is not None:
            trail.limit(
                "external_ports", rule.name, value=granted, used=wanted.port, is_kept=is_kept
            )
        if not is_kept:
            raise AddressNotAllowed("external-port-is-not-granted")

    def check_quota(
        self,
        session: "Session",
        primary: PrimaryConnection | None,
        rule: Rule,
        wanted: int,
        trail: Trail | None = None,
    ) -> None:
        """Check that the client may hold, and ask for, `wanted` more; raises QuotaExceeded."""
        if len(self._engine.registry) + wanted > limits.MAX_BINDINGS:
            raise QuotaExceeded("too-many-bindings-of-all")
        held, most = session.held_for(primary), rule.max_bindings_per_client
        if trail is not None:
            trail.limit(
                "max_bindings_per_client",
                rule.name,
                value=most,
                used=held,
                is_kept=held + wanted <= most,
            )
        if held + wanted > most:
            raise QuotaExceeded("too-many-bindings")
        rate = rule.max_binds_per_minute
        if rate is None:
            return
        rates, account, now = self._engine.rates, session.account_of(primary), self._engine.clock()
        if not rates.has_room(account, rule.name, rate, wanted, now, trail=trail):
            raise QuotaExceeded("too-many-binds-a-minute")

    def spend(
        self, session: "Session", primary: PrimaryConnection | None, rule: Rule, count: int
    ) -> None:
        """Count what was granted against the client's rate: nothing is refused from here on."""
        if rule.max_binds_per_minute is not None:
            self._engine.rates.spend(
                session.account_of(primary),
                rule.name,
                rule.max_binds_per_minute,
                count,
                self._engine.clock(),
            )
