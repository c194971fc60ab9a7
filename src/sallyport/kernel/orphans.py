"""Flows that outlived the process that admitted them, as conntrack has them.

Their marks say that a pinhole of ours let them in, and by the number whose it was. To adopt one is
to give it a number of one's own: from then on its reports come to this worker.
"""

from collections.abc import Collection
from contextlib import suppress

from msgspec.structs import replace

from sallyport.core.pinholes.datapath import Orphan, Pinhole
from sallyport.errors import KernelError, OutOfResources
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.flows import FlowTable
from sallyport.kernel.pins_table import pins_table
from sallyport.kernel.ruleset import Ruleset
from sallyport.wire import conntrack
from sallyport.wire.conntrack import FlowReport

_ADMITTED = marks.PIN | marks.WON


class Orphans:
    """Finds such flows, and lets this worker's flow table take them in."""

    def __init__(
        self, flows: FlowTable, requests: ConntrackRequests, series: int, idle_seconds: float
    ) -> None:
        """`series` is this worker's own; `idle_seconds` is when an adopted UDP flow is over."""
        self._flows = flows
        self._requests = requests
        self._own = marks.series_bits(series)
        self._idle_seconds = idle_seconds

    def find(self) -> list[Orphan]:
        """Return the flows that no process watches; raises KernelError.

        A worker that lives has its pins table, and its numbers are its own. Not returned are flows
        that are being killed, and those whose end is recorded.
        """
        with Ruleset() as ruleset:
            living = {
                marks.series_bits(series)
                for series in range(marks.SERIES_COUNT)
                if ruleset.owner_of(pins_table(series)) is not None
            } - {self._own}
        reports = self._requests.dump(_ADMITTED, _ADMITTED | marks.KILL)
        return [_orphan(report, self._own) for report in reports if self._is_one(report, living)]

    def adopt(self, pinhole: Pinhole, orphan: Orphan) -> bool:
        """Watch a flow from now on, as one of `pinhole`; tell whether it was still there.

        Its end is told at once when both sides have closed it already.
        """
        if pinhole.transport is Transport.UDP:
            pinhole = replace(pinhole, idle_seconds=self._idle_seconds)
        try:
            installed = self._flows.adopt(pinhole, orphan.original, orphan.reply)
        except OutOfResources:
            return False
        is_there = False
        with suppress(KernelError, OSError):
            is_there = self._requests.set_bits(
                orphan.original, installed.generation, marks.GENERATION
            )
        if is_there:
            self._flows.begin_adopted(installed, is_over=orphan.is_over)
        else:
            self._flows.withdraw([installed])
        return is_there

    def _is_one(self, report: FlowReport, living: Collection[int]) -> bool:
        mark = report.mark
        number, told = mark & marks.GENERATION, marks.ENDS | marks.TOLD
        if not number & ~marks.SERIES or mark & told == told:
            return False
        return number & marks.SERIES not in living and not self._flows.knows(number)


def _orphan(report: FlowReport, own: int) -> Orphan:
    original = conntrack.read_tuple(report.original)
    return Orphan(
        Transport.TCP if original.transport == Transport.TCP else Transport.UDP,
        original.source,
        original.destination,
        conntrack.read_source(report.reply),
        is_left_to_us=report.mark & marks.SERIES == own,
        is_over=report.mark & marks.ENDS == marks.ENDS,
        original=report.original,
        reply=report.reply,
    )
