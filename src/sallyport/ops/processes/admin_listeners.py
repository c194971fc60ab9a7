"""Every socket at which a gateway is asked: the control socket, [admin] and [metrics]."""

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette

from sallyport.addresses import Endpoint
from sallyport.core.runtime.environment import Journal
from sallyport.ops.control.access import Rights, Tokens
from sallyport.ops.control.application import Application, BeginFeed
from sallyport.ops.control.health import Observed, health_routes
from sallyport.ops.control.operations import Handler
from sallyport.ops.control.server import HttpServer
from sallyport.ops.control.web_page import page_routes
from sallyport.ops.processes.messages import Plan


class AdminListeners:
    """The sockets of one gateway, by its plan."""

    def __init__(
        self,
        plan: Plan,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, BeginFeed],
        observed: Observed,
        journal: Journal,
    ) -> None:
        """Look who may ask; raises StartupError for groups and tokens that are not there."""
        self._plan = plan
        self._rights = Rights.named(plan.control_group, plan.monitor_group)
        tokens = Tokens()
        if plan.admin is not None:
            tokens = Tokens(
                _path(plan.admin.control_token_file), _path(plan.admin.monitor_token_file)
            )
            tokens.require()
        health = health_routes(observed)
        self._admin = HttpServer(
            Application(handlers, streams, journal, tokens=tokens, also=[*health, *page_routes()])
        )
        self._metrics = HttpServer(Starlette(routes=health))

    async def open(self) -> None:
        """Listen at all of them; raises StartupError when one is taken."""
        plan = self._plan
        await self._admin.open_unix(Path(plan.control_socket), self._rights)
        if plan.admin is not None:
            await self._admin.open_tcp(Endpoint.parse(plan.admin.listen))
        if plan.metrics is not None:
            await self._metrics.open_tcp(Endpoint.parse(plan.metrics.listen))

    async def stop(self) -> None:
        """Close all of them; idempotent."""
        await self._admin.stop()
        await self._metrics.stop()


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
