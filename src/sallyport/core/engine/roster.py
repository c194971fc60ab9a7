"""Roster: the filters in service, those that are leaving, and those that were switched off."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport.core.engine.faults import Faults
from sallyport.core.model.filter import ApplicationFilter, DataFilter, Firewall, SessionFilter
from sallyport.core.model.filter_set import FilterSet
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.runtime.environment import Journal
from sallyport.core.runtime.serial import FAULTS, FilterRunning
from sallyport.errors import InvalidArgument

if TYPE_CHECKING:
    from sallyport.core.model.session import Session


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
        self.current = FilterSet(filters, parameters)
        """What sessions that begin now get."""
        self._leaving: set[FilterSet] = set()
        """Those of before which sessions still have."""

    def start(self, firewall: Firewall) -> None:
        """Start the filters in service; what one of them raises, after undoing it."""
        self._start(self.current, firewall)

    def replace(
        self,
        firewall: Firewall,
        filters: Sequence[ApplicationFilter],
        parameters: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Put other filters in service; those of before leave with their last session.

        Raises what a filter raises that cannot start; then nothing has changed.
        """
        coming = FilterSet(filters, parameters)
        self._start(coming, firewall)
        before, self.current = self.current, coming
        self._faults.forget()
        if before.sessions:
            self._leaving.add(before)
        else:
            self._retire(before)

    def stop(self) -> None:
        """Shut all filters down: none is notified of anything any more. Idempotent."""
        for filter_set in (self.current, *self._leaving):
            self._retire(filter_set)
        self._leaving.clear()

    def joined(self) -> FilterSet:
        """Return a new session its filters."""
        self.current.sessions += 1
        return self.current

    def left(self, filter_set: FilterSet) -> None:
        """Note that a session which had these filters is over."""
        filter_set.sessions -= 1
        if filter_set is not self.current and not filter_set.sessions:
            self._leaving.discard(filter_set)
            self._retire(filter_set)

    def protocol(self, wanted: UUID | str) -> ProtocolDefinition:
        """Find a protocol definition by UUID or name; raises InvalidArgument for an unknown one."""
        for definition in self.current.protocols():
            if wanted in (definition.uuid, definition.name):
                return definition
        raise InvalidArgument("unknown-protocol")

    # -- faults -------------------------------------------------------------------------------

    def filter_failed(self, session: "Session", error: BaseException, name: str) -> None:
        """A filter raised, looped or waited for ever: its client's session ends (attack X07).

        What fails in it from then on, being told of the end, is the echo of one fault.
        """
        if not session.has_failed:
            session.has_failed = True
            self._note(session, error, name)
            session.kill("filter-failed")

    def detach(self, attached: DataFilter | SessionFilter, session: "Session", name: str) -> None:
        """Let a filter release what it holds, behind the fence."""
        try:
            self._filter_running.run(attached.detach)
        except FAULTS as error:  # a fence: whatever a filter raises stays here
            self._note(session, error, name)

    def is_off(self, name: str, session: "Session") -> bool:
        """Whether it failed so often that it is asked no more: all it could deny is denied."""
        return self._faults.is_off(name, session.client_address)

    def off(self) -> Mapping[str, str]:
        """Say which filters are switched off for repeated faults, and for whom."""
        return self._faults.explain()

    def _note(self, session: "Session", error: BaseException, name: str) -> None:
        client = session.client_address
        self._journal.record(
            "filter.failed", level="error", session=session.id, filter=name, error=repr(error)
        )
        if self._faults.count(name, client):
            whom = "everybody" if self._faults.is_off_for_all(name) else client
            self._journal.record("filter.switched_off", level="error", filter=name, client=whom)

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
