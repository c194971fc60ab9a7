"""Reload: the configuration file is read again, and a running gateway takes what it now says.

All of it or nothing: a file with a mistake, or one that asks for what only a start can do, changes
nothing. Sessions under way keep their filters and what they opened.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from sallyport.core.journal import Journal
from sallyport.errors import ConfigErrors, OperatorError
from sallyport.ops.config import Configuration, Source
from sallyport.ops.schema import Reloaded, mistakes_of


class NoSource(OperatorError):
    """The gateway was started without a file."""

    code = "no-configuration-file"


class Reloader:
    """Reloads one gateway, for the control socket and for SIGHUP."""

    def __init__(
        self, take: Callable[[Configuration], None], source: Source | None, journal: Journal
    ) -> None:
        """`take` is `Assembly.replace`; `source` None: the gateway was started without a file."""
        self._take = take
        self._source = source
        self._journal = journal

    def answer(self, _arguments: Mapping[str, object]) -> Reloaded:
        """Answer `reload`: mistakes in the file are an answer too.

        Raises NoSource, RestartNeeded, StartupError. Whatever is wrong, nothing has changed.
        """
        file = "" if self._source is None else str(self._source.file)
        try:
            filters = self._reload(self._source)
        except Exception as error:
            for line in str(error).splitlines() or [repr(error)]:
                self._journal.record("gateway.reload_refused", level="error", problem=line)
            if isinstance(error, ConfigErrors):
                return Reloaded(file=file, valid=False, errors=mistakes_of(error), filters=[])
            raise
        self._journal.record("gateway.reloaded", file=file, filters=", ".join(filters))
        return Reloaded(file=file, valid=True, errors=[], filters=filters)

    def _reload(self, source: Source | None) -> list[str]:
        if source is None:
            raise NoSource(
                "this gateway was started without a file, so there is none to read again; restart"
                " it with --config FILE"
            )
        configuration = source.read()
        self._take(configuration)
        return [choice.kind.name for choice in configuration.filters if choice.running]

    def on_signal(self) -> None:
        """Reload for somebody who hears no answer: what is wrong is in the journal."""
        with suppress(Exception):  # a fence: `answer` has written it down
            self.answer({})
