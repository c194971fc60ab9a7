"""A gateway within a program of one's own: the primitive, without daemon and privileges."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.runtime.environment import Journal
from sallyport.io.fair_poller import FairPoller
from sallyport.ops.assembly import own_addresses_at
from sallyport.ops.config.load import load, parse
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.logs import EventJournal
from sallyport.ops.world import AsyncWorld
from sallyport.relay.datapath import UserDataPath


@asynccontextmanager
async def open_gateway(
    configuration: str | Path,
    *,
    filters: Sequence[ApplicationFilter] = (),
    journal: Journal | None = None,
) -> AsyncIterator[Gateway]:
    """Run a gateway in the block, in the running event loop, on the user data path.

    * `configuration`: TOML text, or the path of a file, as `sallyport run` reads it. Its networks,
      rules and `[gateway] port_range` count; nothing is intercepted or published, and no front end
      is opened. The interfaces that it names need not be there.
    * `filters`: filters of the program, besides those that the configuration names. Their session
      filters are notified of what becomes of a bind (`Session.bind_for_client`).
    * `journal`: what is given every record; by default they go to stderr, from "warning" on.

    Yields the gateway: `gateway.client_session(address)` is the session of a client, and
    `session.bind_for_client(...)` opens a port for it. At the end of the block every port is
    closed and every connection that passed one is reset.

    No privileges are needed, unless a client is to see the addresses of its peers. Raises
    ConfigErrors for a mistake, StartupError when the host's addresses cannot be found out.
    """
    loop = asyncio.get_running_loop()
    if isinstance(configuration, Path):
        parsed = load(configuration)
    else:
        parsed = parse(configuration, "configuration")
    policy = replace(
        parsed.policy,
        publishing_rules=(),
        gateway_addresses=frozenset(local_addresses() | parsed.policy.sources),
        own_addresses={one.name: own_addresses_at(one) for one in parsed.policy.networks},
    )
    chosen = [one.running for one in parsed.filters if one.running is not None]
    failure: BaseException | None = None
    with closing(FairPoller(loop)) as poller:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(journal or EventJournal("warning"), tasks, poller.delay)
            path = UserDataPath(loop, poller, is_transparent=False, absent=policy.sources)
            gateway = Gateway(
                policy=policy,
                data_paths={DataPathKind.USER: path},
                ports=Ports(parsed.gateway.port_range, world.random_below),
                environment=world,
                filters=(*chosen, *filters),
            )
            world.drive(gateway)
            try:
                yield gateway
            except BaseException as error:  # noqa: BLE001 - raised below, as it is: no ExceptionGroup
                failure = error
            finally:
                gateway.shut_down("gateway-stopping")
                path.stop()
    if failure is not None:
        raise failure
