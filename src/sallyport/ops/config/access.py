"""Access rules: from `[[access_rules]]` to values, and what is wrong with them."""

from collections.abc import Iterable

from sallyport.core.policy.protocols import Direction
from sallyport.core.policy.rules import AccessRule, Action
from sallyport.ops.config.document import Report
from sallyport.ops.config.named import Named, read_terms
from sallyport.ops.config.rule_shapes import AccessRuleShape
from sallyport.ops.config.selection import Selection
from sallyport.ops.config.toml_lines import KeyPath


def read_access_rules(
    shapes: Iterable[AccessRuleShape | None], named: Named, selection: Selection, report: Report
) -> tuple[AccessRule, ...]:
    """Return the rules that `shapes` mean; mistakes go to `report`."""
    rules: dict[str, AccessRule] = {}
    for i, shape in enumerate(shapes):
        if shape is None:
            continue
        path = ("access_rules", i)
        if shape.name in rules:
            report.add((*path, "name"), f"a rule named {shape.name!r} stands above; rename one")
        rules[shape.name] = _rule(shape, path, named, selection, report)
    return tuple(rules.values())


def _rule(
    shape: AccessRuleShape, path: KeyPath, named: Named, selection: Selection, report: Report
) -> AccessRule:
    is_allowed = shape.action is Action.ALLOW
    for i, protocol in enumerate(shape.protocols):
        if fault := selection.fault(protocol, Direction.OUTBOUND, is_allowed=is_allowed):
            report.add((*path, "protocols", i), fault)
    named.check_users(shape.users or (), (*path, "users"), report)
    return AccessRule(
        name=shape.name,
        action=shape.action,
        protocols=frozenset(shape.protocols),
        sources=named.hosts(shape.sources, (*path, "from"), report),
        destinations=named.hosts(shape.destinations, (*path, "to"), report),
        users=None if shape.users is None else frozenset(shape.users),
        schedule=named.schedule(shape.schedule, (*path, "schedule"), report),
        frontends=None if shape.frontends is None else frozenset(shape.frontends),
        **read_terms(shape, path, report, selection, shape.protocols),  # type: ignore[arg-type]
    )
