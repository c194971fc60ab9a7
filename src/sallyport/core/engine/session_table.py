"""SessionTable: holds every session, begins them and ends them."""

from collections.abc import Iterator

from sallyport import limits
from sallyport.addresses import IpAddress
from sallyport.core.engine.roster import Roster
from sallyport.core.model.engine import Engine
from sallyport.core.model.filter_set import FilterSet
from sallyport.core.model.hooks import Source
from sallyport.core.model.session import Session
from sallyport.core.policy.rules import ANYONE, Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import InvalidArgument, QuotaExceeded

# Client address, user, and how it reached the gateway.
_Key = tuple[IpAddress, str | None, Source]


class SessionTable:
    """Holds the ordinary sessions, and the private ones that filters made.

    An ordinary session is one of a client's address, of its user, and of whether it asks the
    gateway itself: what an application asks for is not the business of filters that serve hosts
    which know nothing of us.
    """

    def __init__(self, engine: Engine, roster: Roster, name: str) -> None:
        """`name` begins the ids of sessions."""
        self._name = name
        self._engine = engine
        self._roster = roster
        self._ordinary: dict[_Key, Session] = {}
        self._private: dict[IpAddress, list[Session]] = {}
        self.opened = 0
        """How many sessions there have been."""

    def __iter__(self) -> Iterator[Session]:
        """Iterate over every session: the clients' ordinary ones first, then the private ones."""
        yield from self._ordinary.values()
        for private in self._private.values():
            yield from private

    def of(self, client: IpAddress, asker: Asker = ANYONE) -> Session | None:
        """Return the ordinary session of a client that asks in this way, if there is one."""
        return self._ordinary.get((client, asker.user, _source(asker)))

    def begin(self, client: IpAddress, asker: Asker = ANYONE) -> Session:
        """Return a new ordinary session for a client that has none."""
        session = self._new(client, asker, is_private=False)
        self._ordinary[_key(session)] = session
        return session

    def imagined(self, client: IpAddress, asker: Asker) -> Session:
        """Return a session that is in no table, for asking what would be; it needs no end."""
        return self._made("-", client, asker, self._roster.current, is_private=False)

    def begin_unused(
        self, client: IpAddress, asker: Asker = ANYONE, *, is_private: bool
    ) -> Session:
        """Return a session that a filter or a front end asks for before it is used.

        It ends `limits.UNUSED_SESSION_SECONDS` later if it is still empty. Raises InvalidArgument
        for an address of the gateway, QuotaExceeded when the client has
        `limits.MAX_PRIVATE_SESSIONS` private sessions.
        """
        if not is_private and (known := self.of(client, asker)):
            return known
        if is_private and len(self._private.get(client, ())) >= limits.MAX_PRIVATE_SESSIONS:
            raise QuotaExceeded("too-many-private-sessions")
        if self._engine.policy.is_own(client):
            raise InvalidArgument("not-a-client")
        if is_private:
            session = self._new(client, asker, is_private=True)
            self._private.setdefault(client, []).append(session)
        else:
            session = self.begin(client, asker)
        session.unused = self._engine.call_later(
            limits.UNUSED_SESSION_SECONDS, lambda: self.forget_idle(session)
        )
        return session

    def forget_idle(self, session: Session) -> None:
        """End a session that has no connection, binding or permission left. Idempotent."""
        if session.primaries or session.openings or session.is_over:
            return
        session.is_ending = session.is_over = True
        if session.unused is not None:
            session.unused.cancel()
        self._delist(session)
        self._engine.tracing.ended(session)
        session.factories.clear()
        session.end_bundles("session-is-over")
        self.dismiss_filters(session)
        self._roster.left(session.filter_set)

    def dismiss_filters(self, session: Session) -> None:
        """Detach every filter from a session."""
        while session.filters:
            name, session_filter = session.filters.popitem()
            self._engine.detach(session_filter, session, name)

    def _new(self, client: IpAddress, asker: Asker, *, is_private: bool) -> Session:
        self.opened += 1
        name = f"{self._name}s{self.opened}"
        made = self._made(name, client, asker, self._roster.joined(), is_private=is_private)
        self._engine.tracing.begun(made)
        return made

    def _made(
        self,
        session_id: str,
        client: IpAddress,
        asker: Asker,
        filter_set: FilterSet,
        *,
        is_private: bool,
    ) -> Session:
        return Session(
            self._engine,
            session_id=session_id,
            client=client,
            user=asker.user,
            frontend=asker.frontend,
            source=_source(asker),
            since=self._engine.clock(),
            filter_set=filter_set,
            is_private=is_private,
        )

    def _delist(self, session: Session) -> None:
        client = session.client_address
        if not session.is_private:
            del self._ordinary[_key(session)]
        elif len(self._private[client]) == 1:
            del self._private[client]
        else:
            self._private[client].remove(session)


def _key(session: Session) -> _Key:
    return session.client_address, session.user, session.source


def _source(asker: Asker) -> Source:
    is_asked = asker.frontend is not Frontend.TRANSPARENT
    return Source.FIREWALL_CLIENT if is_asked else Source.SECURE_NAT
