"""What is told to a witness, and that it changes nothing of what passes."""

from tests.core.office import Wire

from sallyport.core.model.transcript import Hop, Transcript, WatchedEnd, watched


class Notes:
    def __init__(self) -> None:
        self.passed_by: list[tuple[Hop, bytes]] = []

    def passed(self, hop: Hop, data: bytes) -> None:
        self.passed_by.append((hop, data))


def test_by_default_only_the_number_of_bytes_is_seen() -> None:
    assert Transcript().lines(b"PASS secret\r\n") == ["(13 bytes)"]


def test_an_end_with_a_witness_passes_everything_on_and_tells_it() -> None:
    wire, notes = Wire(), Notes()
    end = watched(wire, notes, Hop.CLIENT_HEARS)
    end.send(b"220\r\n")
    end.shutdown()

    assert (wire.sent, wire.done) == ([b"220\r\n"], ["shutdown"])
    assert notes.passed_by == [(Hop.CLIENT_HEARS, b"220\r\n")]


def test_an_end_has_one_witness_at_most_and_is_itself_again_without() -> None:
    wire, first, second = Wire(), Notes(), Notes()
    end = watched(watched(wire, first, Hop.SERVER_HEARS), second, Hop.SERVER_HEARS)

    assert isinstance(end, WatchedEnd)
    assert end.end is wire
    assert watched(end, None, Hop.SERVER_HEARS) is wire
