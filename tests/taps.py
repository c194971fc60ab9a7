"""A tap as tests hold it: it writes down what it is told, and passes on what it may."""

from collections.abc import Callable

from sallyport.core.pinholes.datapath import Link, StreamEnd


class WritingTap:
    """Passes bytes and ends on, unless a test takes over; `told` is everything in order."""

    def __init__(self, told: list[str] | None = None) -> None:
        """`told` may be shared with others who write down what happens."""
        self.on_idle: Callable[[], None] = lambda: None
        self.is_busy = False
        self.holds_accepted = False
        self.holds_dialled = False
        self.told = [] if told is None else told
        self.link: Link
        self.accepted: StreamEnd | None = None
        self.dialled: StreamEnd | None = None
        self.on_accepted: Callable[[bytes], None] = self.to_dialled
        self.on_dialled: Callable[[bytes], None] = self.to_accepted

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        self.link, self.accepted, self.dialled = link, accepted, dialled
        self.told.append("begin")

    def from_accepted(self, data: bytes) -> None:
        self.told.append(f"accepted: {data[:20].decode()}")
        self.on_accepted(data)

    def from_dialled(self, data: bytes) -> None:
        self.told.append(f"dialled: {data[:20].decode()}")
        self.on_dialled(data)

    def accepted_closed(self) -> None:
        self.told.append("accepted closed")
        if self.dialled is not None:
            self.dialled.shutdown()

    def dialled_closed(self) -> None:
        self.told.append("dialled closed")
        if self.accepted is not None:
            self.accepted.shutdown()

    def flooded(self) -> None:
        self.told.append("flooded")

    def end(self) -> None:
        self.told.append("end")

    def to_accepted(self, data: bytes) -> None:
        if self.accepted is not None:
            self.accepted.send(data)

    def to_dialled(self, data: bytes) -> None:
        if self.dialled is not None:
            self.dialled.send(data)

    def resume(self) -> None:
        """Wait for nothing any more."""
        self.is_busy = False
        self.on_idle()
