"""Reload: the configuration file is read again, and a running gateway takes what it now says.

All of it or nothing: a file with a mistake, or one that asks for what only a start can do, changes
nothing. Sessions under way keep their filters and what they opened.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from sallyport.core.runtime.environment import Journal
from sallyport.errors import ConfigErrors, OperatorError
from sallyport.ops.config.load import ConfigFile, Configuration
from sallyport.ops.control.schema import Reloaded, mistakes_of


class NoSource(OperatorError):
    """The gateway was started without a file."""

    code = "no-configuration-file"


class NotReady(OperatorError):
    """The gateway is not put together yet, or is being taken apart."""

    code = "not-ready"


class Reloader:
    """Reloads one gateway, for the control socket and for SIGHUP; between `open` and `close`."""

    def __init__(self, source: ConfigFile | None, journal: Journal) -> None:
        """`source` None: the gateway was started without a file."""
        self._take: Callable[[Configuration], None] | None = None
        self._source = source
        self._journal = journal

    def open(self, take: Callable[[Configuration], None]) -> None:
        """From now on there is a gateway; `take` is `Assembly.replace`."""
        self._take = take

    def close(self) -> None:
        """Reload no more: what a reload sets up would outlive the gateway. Idempotent."""
        self._take = None

    def answer(self, _arguments: Mapping[str, object]) -> Reloaded:
        """Answer `reload`: mistakes in the file are an answer too.

        Raises NotReady, NoSource, RestartNeeded, StartupError; whatever is wrong, nothing has
        changed.
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

    def _reload(self, source: ConfigFile | None) -> list[str]:
        if self._take is None:
            raise NotReady("the gateway is starting or stopping; ask again when it runs")
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
