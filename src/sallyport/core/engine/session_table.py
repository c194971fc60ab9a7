"""SessionTable: holds every session, begins them and ends them."""

from collections.abc import Iterator
from itertools import count

from sallyport import limits
from sallyport.addresses import IpAddress
from sallyport.core.engine.roster import Roster
from sallyport.core.model.engine import Engine
from sallyport.core.model.filter_set import FilterSet
from sallyport.core.model.session import Session
from sallyport.core.policy.rules import ANYONE, Asker
from sallyport.errors import InvalidArgument, QuotaExceeded


class SessionTable:
    """Holds one ordinary session for each client, and the private sessions that filters made."""

    def __init__(self, engine: Engine, roster: Roster, name: str) -> None:
        """`name` begins the ids of sessions."""
        self._name = name
        self._engine = engine
        self._roster = roster
        self._ordinary: dict[tuple[IpAddress, str | None], Session] = {}
        self._private: dict[IpAddress, list[Session]] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over every session: the clients' ordinary ones first, then the private ones."""
        yield from self._ordinary.values()
        for private in self._private.values():
            yield from private

    def of(self, client: IpAddress, user: str | None = None) -> Session | None:
        """Return the ordinary session of a client and its user, if there is one."""
        return self._ordinary.get((client, user))

    def begin(self, client: IpAddress, asker: Asker = ANYONE) -> Session:
        """Return a new ordinary session for a client and its user that have none."""
        session = self._new(client, asker, is_private=False)
        self._ordinary[client, asker.user] = session
        return session

    def imagined(self, client: IpAddress, asker: Asker) -> Session:
        """Return a session that is in no table, for asking what would be; it needs no end."""
        return self._made("-", client, asker, self._roster.current, is_private=False)

    def begin_for_filter(self, client: IpAddress, *, is_private: bool) -> Session:
        """Return a session that a filter asks for (`model.filter.Firewall`).

        It ends `limits.UNUSED_SESSION_SECONDS` later if it is still empty. Raises InvalidArgument
        for an address of the gateway, QuotaExceeded when the client has
        `limits.MAX_PRIVATE_SESSIONS` private sessions.
        """
        if not is_private and (known := self.of(client)):
            return known
        if is_private and len(self._private.get(client, ())) >= limits.MAX_PRIVATE_SESSIONS:
            raise QuotaExceeded("too-many-private-sessions")
        if self._engine.policy.is_own(client):
            raise InvalidArgument("not-a-client")
        if is_private:
            session = self._new(client, ANYONE, is_private=True)
            self._private.setdefault(client, []).append(session)
        else:
            session = self.begin(client)
        self._engine.call_later(limits.UNUSED_SESSION_SECONDS, lambda: self.forget_idle(session))
        return session

    def forget_idle(self, session: Session) -> None:
        """End a session that has no connection, binding or permission left. Idempotent."""
        if session.primaries or session.openings or session.is_over:
            return
        session.is_ending = session.is_over = True
        self._delist(session)
        session.factories.clear()
        self.dismiss_filters(session)
        self._roster.left(session.filter_set)

    def dismiss_filters(self, session: Session) -> None:
        """Detach every filter from a session."""
        while session.filters:
            name, session_filter = session.filters.popitem()
            self._engine.detach(session_filter, session, name)

    def _new(self, client: IpAddress, asker: Asker, *, is_private: bool) -> Session:
        name = f"{self._name}s{next(self._numbers)}"
        return self._made(name, client, asker, self._roster.joined(), is_private=is_private)

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
            since=self._engine.clock(),
            filter_set=filter_set,
            is_private=is_private,
        )

    def _delist(self, session: Session) -> None:
        client = session.client_address
        if not session.is_private:
            del self._ordinary[client, session.user]
        elif len(self._private[client]) == 1:
            del self._private[client]
        else:
            self._private[client].remove(session)
