"""Our own lines in the stream of another host: between two of its lines, never inside one."""


class Interjector:
    """Follows a stream of lines towards one reader, and lets others be put between them.

    What both methods return is what to send, in the order of the calls; nothing else is held back.
    """

    def __init__(self) -> None:
        self._is_mid_line = False
        self._waiting = b""

    def carry(self, data: bytes) -> bytes:
        """Pass bytes of the stream on, with what waits where the unfinished line ends."""
        if self._waiting and (end := data.find(b"\n") + 1):
            data = data[:end] + self._waiting + data[end:]
            self._waiting = b""
        if data:
            self._is_mid_line = not data.endswith(b"\n")
        return data

    def insert(self, line: bytes) -> bytes:
        """Put a whole line in: now, or, while a line is unfinished, at its end."""
        self._waiting += line
        if self._is_mid_line:
            return b""
        now, self._waiting = self._waiting, b""
        return now
