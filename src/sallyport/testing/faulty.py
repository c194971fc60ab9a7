"""Parts of a gateway that remember what filters did, and fail when told to."""

from collections.abc import Callable
from functools import partial

from sallyport.core.engine.binder import Binder
from sallyport.core.engine.gateway import Gateway
from sallyport.core.engine.roster import Roster
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.model.session import Session
from sallyport.core.pinholes.registry import Opening
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    InvalidArgument,
    KernelError,
    OutOfResources,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)

Failure = Callable[[], Exception]

PATH_FAILURES: tuple[Failure, ...] = (
    partial(OutOfResources, "fault-injection"),
    partial(KernelError, "fault injection", 12),
)
"""The exceptions that a data path may raise."""

BIND_FAILURES: tuple[Failure, ...] = (
    partial(PolicyDenied, "fault-injection"),
    partial(AddressInUse, "fault-injection"),
    partial(AddressNotAvailable, "fault-injection"),
    partial(AddressNotAllowed, "fault-injection"),
    partial(InvalidArgument, "fault-injection"),
    partial(QuotaExceeded, "fault-injection"),
    partial(Terminating, "fault-injection"),
    *PATH_FAILURES,
)
"""The exceptions that `bind_for_client` and `allow_future_connect` may raise."""


class FaultyBinder(Binder):
    """Binds as the real one does, but raises `failure` in call number `fails_at` (from 0)."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway, gateway.grants)
        self.made: list[str] = []
        """Every binding and permission that was made, in order."""
        self.calls = 0
        self.fails_at: int | None = None
        self.failure: Exception | None = None

    async def bind(self, request: BindRequest, *, armed: bool) -> Binding:
        """Implement `Binder.bind`."""
        self._call()
        binding = await super().bind(request, armed=armed)
        self._keep("bind", *binding.connections)
        return binding

    async def allow(self, request: FutureRequest, *, armed: bool) -> tuple[FutureConnection, ...]:
        """Implement `Binder.allow`."""
        self._call()
        futures = await super().allow(request, armed=armed)
        self._keep("permission", *futures)
        return futures

    def _call(self) -> None:
        number, self.calls = self.calls, self.calls + 1
        if number == self.fails_at and self.failure is not None:
            raise self.failure

    def _keep(self, what: str, *openings: Opening) -> None:
        holes = [one.pinhole for one in openings]
        ports = ", ".join(f"{hole.listen} -> {hole.target} from {hole.sources}" for hole in holes)
        self.made.append(f"{what} {ports}")


class WatchedRoster(Roster):
    """Takes over the roster of a gateway, and remembers which filters it detached."""

    def __init__(self, roster: Roster) -> None:
        vars(self).update(vars(roster))
        self.detached: list[DataFilter | SessionFilter] = []

    def detach(
        self,
        attached: DataFilter | SessionFilter,
        session: Session,
        name: str,
        primary: PrimaryConnection | None = None,
    ) -> None:
        """Implement `Roster.detach`."""
        self.detached.append(attached)
        super().detach(attached, session, name, primary)
