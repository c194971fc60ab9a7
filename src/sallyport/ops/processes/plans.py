"""Which of two plans a running supervisor can follow; pure."""

from sallyport.errors import StartupError
from sallyport.ops.arrivals import Place
from sallyport.ops.processes.messages import Plan


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
