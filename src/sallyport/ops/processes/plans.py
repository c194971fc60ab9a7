"""What a configuration asks of the supervisor, and which plan a running one can follow."""

from collections.abc import Iterable

from sallyport.errors import ConfigError, StartupError
from sallyport.flags import Transport
from sallyport.ops import arrivals
from sallyport.ops.arrivals import Place
from sallyport.ops.assembly import Prepared
from sallyport.ops.config.settings import ApiSettings, DataPathChoice
from sallyport.ops.control.schema import mistakes_of
from sallyport.ops.processes.messages import Plan, Publication


def plan_of(prepared: Prepared, doubts: Iterable[ConfigError] = ()) -> Plan:
    """Return what the supervisor must know of a configuration; `doubts` are warnings about it."""
    settings = prepared.configuration.gateway
    is_kernel = settings.data_path is not DataPathChoice.USER
    return Plan(
        workers=settings.workers,
        node=settings.node,
        control_socket=str(settings.control_socket),
        control_group=settings.control_group,
        monitor_group=settings.monitor_group,
        admin=prepared.configuration.admin,
        metrics=prepared.configuration.metrics,
        port_range=str(settings.port_range),
        interfaces=[name for one in prepared.policy.networks for name in one.interfaces],
        networks=[network.name for network in prepared.policy.networks],
        data_paths=["kernel", "user"] if is_kernel else ["user"],
        filters=[one.kind.name for one in prepared.configuration.filters if one.running],
        intercepting=prepared.intercepting(),
        published={
            arrivals.publishing(rule): Publication(
                f"publishing rule {rule.name!r}",
                str(rule.listen),
                rule.transport.name,
                may_be_absent=rule.listen.address in prepared.policy.sources,
            )
            for rule in prepared.published()
        }
        | {
            arrivals.socks_place(at): Publication("[frontends.socks]", str(at), Transport.TCP.name)
            for at in prepared.socks_listens()
        }
        | _api(prepared.configuration.api),
        drain_seconds=settings.drain_seconds,
        lack=prepared.lack,
        doubts=mistakes_of(doubts),
    )


def _api(settings: ApiSettings | None) -> dict[Place, Publication]:
    if settings is None:
        return {}
    path = str(settings.socket)
    published = Publication("[frontends.api]", path, "UNIX", group=settings.group)
    return {arrivals.api_place(settings.socket): published}


def places(plan: Plan) -> set[Place]:
    """Return the places at which a plan wants sockets."""
    return {*plan.intercepting, *plan.published}


def require_same(before: Plan, after: Plan, *, has_same_rules: bool) -> None:
    """Check that a new generation can take what the old one was set up for; raises StartupError."""
    if _fixed(before) != _fixed(after) or not has_same_rules:
        raise StartupError(
            "the configuration has changed; reload it first, or restart, and then renew the workers"
        )


def _fixed(plan: Plan) -> tuple[object, ...]:
    """Return what of a plan the supervisor was set up for and cannot change."""
    return (
        plan.workers,
        plan.control_socket,
        plan.control_group,
        plan.monitor_group,
        plan.admin,
        plan.metrics,
        plan.port_range,
        plan.interfaces,
        plan.intercepting,
        plan.published,
    )
