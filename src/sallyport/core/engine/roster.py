"""Roster: the filters in service, those that leave with their last session, and their faults."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport.core.engine.faults import Faults
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.filter import ApplicationFilter, DataFilter, Firewall, SessionFilter
from sallyport.core.model.filter_set import FilterSet
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.runtime.environment import Journal
from sallyport.core.runtime.serial import FAULTS, FilterRunning
from sallyport.errors import InvalidArgument
from sallyport.limits import MAX_TRACEBACK_CHARACTERS

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection
    from sallyport.core.model.session import Session

# Calls inside the core are no place where an author can look.
_CORE = str(Path(__file__).parents[1])


class Roster:
    """Starts, replaces and shuts down application filters, and keeps account of their faults."""

    def __init__(
        self,
        journal: Journal,
        filter_running: FilterRunning,
        filters: Sequence[ApplicationFilter],
        parameters: Mapping[str, Mapping[str, object]],
    ) -> None:
        self._journal = journal
        self._filter_running = filter_running
        self._faults = Faults()
        self._places: set[tuple[str, type[BaseException]]] = set()
        """Where filters failed already, and with what."""
        self.current = FilterSet(filters, parameters)
        """The filters of sessions that begin now."""
        self._leaving: set[FilterSet] = set()
        """Replaced sets that running sessions still use."""
        self.on_switched_off: Callable[[str], None] = lambda _name: None
        """Called when a filter has failed with so many clients that it is off for all."""

    def start(self, firewall: Firewall) -> None:
        """Start the filters in service.

        Raises what a filter raises in `start`; then those already started are shut down.
        """
        self._start(self.current, firewall)

    def replace(
        self,
        firewall: Firewall,
        filters: Sequence[ApplicationFilter],
        parameters: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Put other filters in service; the present ones leave with their last session.

        Every filter is trusted again. Raises what a filter raises in `start`; then nothing has
        changed.
        """
        coming = FilterSet(filters, parameters)
        self._start(coming, firewall)
        before, self.current = self.current, coming
        self._faults.forget()
        self._places.clear()
        if before.sessions:
            self._leaving.add(before)
        else:
            self._retire(before)

    def stop(self) -> None:
        """Shut all filters down: none of them is notified any more. Idempotent."""
        for filter_set in (self.current, *self._leaving):
            self._retire(filter_set)
        self._leaving.clear()

    def joined(self) -> FilterSet:
        """Return the filters of a session that begins, and count it."""
        self.current.sessions += 1
        return self.current

    def left(self, filter_set: FilterSet) -> None:
        """Take note that a session with these filters is over; its last one retires an old set."""
        filter_set.sessions -= 1
        if filter_set is not self.current and not filter_set.sessions:
            self._leaving.discard(filter_set)
            self._retire(filter_set)

    def protocol(self, wanted: UUID | str) -> ProtocolDefinition:
        """Return a protocol definition by UUID or name; raises InvalidArgument if unknown."""
        for definition in self.current.protocols():
            if wanted in (definition.uuid, definition.name):
                return definition
        raise InvalidArgument("unknown-protocol")

    # -- faults -------------------------------------------------------------------------------

    def filter_failed(self, connection: "Connection", error: BaseException, name: str) -> None:
        """End the connection with which a filter raised, looped or waited too long (attack X07).

        What was opened for it ends too, and of a bind every port. One fault is counted: what fails
        in the events of this end, or of an end that is under way, is its echo.
        """
        session, primary = connection.session, connection.primary
        if session.has_failed or any(one.has_failed for one in (connection, primary) if one):
            return
        connection.has_failed = True
        if primary is not None and not primary.is_open:
            primary.has_failed = True
        self._note(session, primary, error, name)
        session.has_failed = True
        _end(connection)
        session.has_failed = session.is_ending

    def timer_failed(self, bundle: Bundle, error: BaseException) -> None:
        """End the bundle whose timer raised, looped or waited too long, and count the fault."""
        self._note(bundle.session, bundle.primary, error, bundle.owner)
        bundle.end("filter-failed")

    def detach(
        self,
        attached: DataFilter | SessionFilter,
        session: "Session",
        name: str,
        primary: "PrimaryConnection | None" = None,
    ) -> None:
        """Call `detach` of a filter or data filter behind the fence: a failure is only counted.

        `primary`: the connection that a data filter worked for, if any.
        """
        try:
            self._filter_running.run(attached.detach)
        except FAULTS as error:  # a fence: what a filter raises stays here
            self._note(session, primary, error, name)

    def is_off(self, name: str, session: "Session", primary: "PrimaryConnection | None") -> bool:
        """Whether the filter is switched off for this client: what it could deny is denied."""
        return self._faults.is_off(name, session.account_of(primary))

    def is_off_for_all(self, name: str) -> bool:
        """Whether a filter has failed with so many clients that it is off for all of them."""
        return self._faults.is_off_for_all(name)

    def switch_off(self, name: str) -> None:
        """Switch a filter off for all clients: another worker has found it out."""
        self._faults.condemn(name)

    def off(self) -> Mapping[str, str]:
        """Return a sentence for each filter that is switched off: for which clients, and why."""
        return self._faults.explain()

    def _note(
        self,
        session: "Session",
        primary: "PrimaryConnection | None",
        error: BaseException,
        name: str,
    ) -> None:
        client = session.account_of(primary)
        place = _place(error)
        known = place, type(error)
        # Once for each place: a client that repeats what makes a filter fail fills no log.
        told = {} if known in self._places else {"traceback": _traceback(error)}
        self._places.add(known)
        self._journal.record(
            "filter.failed",
            level="error",
            session=session.id,
            connection=None if primary is None else primary.id,
            filter=name,
            error=repr(error),
            place=place,
            **told,
        )
        if self._faults.count(name, client):
            is_off_for_all = self._faults.is_off_for_all(name)
            whom = "everybody" if is_off_for_all else client
            self._journal.record("filter.switched_off", level="error", filter=name, client=whom)
            if is_off_for_all:
                self.on_switched_off(name)

    def _start(self, filter_set: FilterSet, firewall: Firewall) -> None:
        started: list[ApplicationFilter] = []
        try:
            for one in filter_set.filters:
                one.start(firewall)
                started.append(one)
        except BaseException as error:
            error.add_note(f"(filter {one.name!r})")
            self._shut_down(started)
            raise

    def _retire(self, filter_set: FilterSet) -> None:
        if not filter_set.is_retired:
            filter_set.is_retired = True
            self._shut_down(filter_set.filters)

    def _shut_down(self, filters: Iterable[ApplicationFilter]) -> None:
        for one in filters:
            try:
                self._filter_running.run(one.shutdown)
            except FAULTS as error:  # a fence: whatever a filter raises stays here
                self._journal.record(
                    "filter.failed", level="error", filter=one.name, error=repr(error)
                )


def _end(connection: "Connection") -> None:
    if isinstance(connection, PrimaryConnection):
        connection.abandon("filter-failed")
    elif isinstance(connection, SecondaryConnection) and connection.binding is not None:
        for port in connection.binding.connections:
            port.has_failed = True
        connection.binding.kill("filter-failed")
    else:
        connection.kill("filter-failed")


def _place(error: BaseException) -> str:
    """Return the file, line and function where a filter failed: its own, if any of it is there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_CORE)]
    if not frames:
        return ""
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno} in {last.name}"


def _traceback(error: BaseException) -> str:
    """Return the traceback; of a recursion without end only the last calls."""
    return "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARACTERS:]
