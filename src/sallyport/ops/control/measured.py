"""What a worker has counted, for metrics."""

import resource
from pathlib import Path

from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.negotiated import Negotiated
from sallyport.errors import KERNEL_ERRORS
from sallyport.flags import Transport
from sallyport.ops.control.schema import EventCount, Measured
from sallyport.ops.logs import EventJournal


def measured(gateway: Gateway, journal: EventJournal) -> Measured:
    """Return it; asks no data path, so that it costs the same with many transfers."""
    sessions = tuple(gateway.sessions)
    openings = [one for session in sessions for one in session.openings.values()]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Measured(
        sessions=len(sessions),
        sessions_opened=gateway.sessions.opened,
        controls=sum(len(session.primaries) for session in sessions),
        bindings=sum(len(session.bindings) for session in sessions),
        transfers=sum(isinstance(one, Negotiated) and bool(one.running) for one in openings),
        events=[
            EventCount(event=event, protocol=protocol, reason=reason, count=count)
            for (event, protocol, reason), count in sorted(journal.tally.events.items())
        ],
        refusals=dict(journal.refusals),
        bytes=dict(journal.tally.bytes),
        bind_counts=list(gateway.bind_times.counts),
        bind_seconds=gateway.bind_times.seconds,
        ports_free={one.name.lower(): gateway.free_ports(one) for one in Transport},
        ports=len(gateway.port_range),
        log_records_lost=journal.lost,
        kernel_errors=dict(KERNEL_ERRORS),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
        resident_bytes=_resident_bytes(),
    )


def _resident_bytes() -> int:
    """Return how much memory the process has now (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
