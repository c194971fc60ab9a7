"""What a rule forbids in FTP beyond the protocol: writing, single verbs, TLS.

What is refused is also taken out of the reply to FEAT (RFC 2389 section 3.2).
"""

import re

from sallyport.filters.ftp.settings import FtpSettings
from sallyport.filters.ftp.verbs import (
    READING,
    REFUSED_VERBS,
    TAKING_NAMES,
    TAKING_PATHS,
    TLS_VERBS,
    WRITING,
)
from sallyport.wire.ftp.formats import Command
from sallyport.wire.ftp.replies import ReplyLine

# Some servers set the time of a file by MDTM, with the time before the name.
_SETS_TIME = re.compile(rb"[0-9]{14}(\.[0-9]+)? ")


_Refusal = tuple[int, str, str]


class Restrictions:
    """The restrictions of one control connection."""

    __slots__ = ("_denied", "_hides_nothing", "_is_read_only", "is_any")

    def __init__(self, settings: FtpSettings) -> None:
        self._is_read_only = settings.read_only
        self._denied = frozenset(verb.encode() for verb in settings.deny)
        self._hides_nothing = settings.hides_nothing
        self.is_any = settings.hides_nothing
        """Whether there are any: most rules have none, and every command asks."""

    def refusal(self, command: Command) -> _Refusal | None:
        """Return how a command is refused: code, text and reason; None when it passes."""
        verb = command.verb
        if verb in self._denied:
            return _code(verb), "Denied by the gateway.", "verb-is-denied"
        if self._is_read_only and not _only_reads(command):
            return _code(verb), "Read-only, says the gateway.", "rule-is-read-only"
        if verb == b"AUTH" and self._hides_nothing:
            return _NO_TLS
        return None

    def offers_what_is_refused(self, line: ReplyLine) -> bool:
        """Whether a line of the reply to FEAT names a verb that is refused, by us or by a rule."""
        if line.is_first or line.is_final:
            return False
        # Some servers begin each line with the code, as the first one.
        feature = line.text.removeprefix(b"%d-" % (line.code or 0))
        verb, _, argument = feature.upper().strip().partition(b" ")
        if verb in REFUSED_VERBS or verb in self._denied:
            return True
        if verb in TLS_VERBS and self._hides_nothing:
            return True
        if verb == b"AUTH" and not any(name in argument for name in (b"TLS", b"SSL")):
            return True
        return self._is_read_only and verb in WRITING


def _only_reads(command: Command) -> bool:
    sets_time = command.verb == b"MDTM" and _SETS_TIME.match(command.argument or b"") is not None
    return command.verb in READING and not sets_time


def _code(verb: bytes) -> int:
    """RFC 959 section 5.4: what says "not permitted" of a name to write, and of a path."""
    if verb in TAKING_NAMES:
        return 553
    return 550 if verb in TAKING_PATHS else 502


_NO_TLS = 534, "The gateway must read the commands: no TLS here.", "tls-is-refused"
