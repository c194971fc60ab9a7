"""What an operator who traces an FTP dialogue sees of it: never a credential, nothing after TLS."""

from collections.abc import Callable, Iterator, Sequence

from sallyport import api, limits
from sallyport.filters.ftp.verbs import KNOWN_VERBS
from sallyport.wire.ftp.replies import ReplyReader
from sallyport.wire.lines import LineReader
from sallyport.wire.telnet import without_commands

_HIDDEN = "***"

_SECRETS = frozenset({b"PASS", b"ACCT"})
# SITE PSWD and SITE PSWD's kin carry passwords; the first word says which of them it is.
_FIRST_WORD_ONLY = frozenset({b"SITE"})

# RFC 959 section 5.4: the answers to USER, PASS and ACCT. Servers repeat the name in them.
_ABOUT_USERS = frozenset({230, 331, 332, 530})


class FtpTranscript(api.Transcript):
    """The lines of one hop; bytes that are no line of FTP are counted."""

    def __init__(
        self, *, is_running: bool, is_ciphered: Callable[[], bool], shows_users: bool
    ) -> None:
        """`is_running`: what comes first may be the rest of a line, and is counted."""
        self._is_ciphered = is_ciphered
        self._shows_users = shows_users
        self._is_rest = is_running
        self._commands = LineReader(limits.MAX_FTP_LINE)
        self._replies = ReplyReader()

    def lines(self, data: bytes) -> Sequence[str]:
        """Implement `Transcript.lines`."""
        if self._is_ciphered():
            return [api.counted(data)]
        if self._is_rest:
            rest, end, data = data.partition(b"\n")
            self._is_rest = not end
            return [api.counted(rest + end), *self._read(data)]
        return [*self._read(data)]

    def _read(self, data: bytes) -> Iterator[str]:
        raise NotImplementedError


class CommandTranscript(FtpTranscript):
    """What a client says, or what the server hears of it."""

    def _read(self, data: bytes) -> Iterator[str]:
        self._commands.feed(data)
        while (line := self._commands.take()) is not None:
            yield self._command(line.raw) if line.is_whole else api.counted(line.raw)

    def _command(self, raw: bytes) -> str:
        verb, blank, argument = without_commands(raw).rstrip(b"\r\n").partition(b" ")
        name = verb.upper()
        if name not in KNOWN_VERBS:
            # It may be a password at the wrong place. A verb has four letters at most (RFC 959).
            is_verb = verb.isalpha() and len(verb) <= 4
            return f"{_text(verb)} {_HIDDEN}" if is_verb and blank else api.counted(raw)
        if name in _SECRETS or (name == b"USER" and not self._shows_users):
            return f"{_text(verb)} {_HIDDEN}"
        first, more, _rest = argument.partition(b" ")
        if name in _FIRST_WORD_ONLY and more:
            return f"{_text(verb)} {_text(first)} {_HIDDEN}"
        return _text(verb + blank + argument)


class ReplyTranscript(FtpTranscript):
    """What a server says, or what the client hears of it."""

    def _read(self, data: bytes) -> Iterator[str]:
        self._replies.feed(data)
        while (line := self._replies.take()) is not None:
            if line.code is None or not line.is_whole:
                yield api.counted(line.raw)
            elif line.code in _ABOUT_USERS and not self._shows_users:
                yield f"{line.code}{' ' if line.is_final else '-'}{_HIDDEN}"
            else:
                yield _text(line.text)


def _text(raw: bytes) -> str:
    """Return bytes as text in which each control character is written as its number."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
