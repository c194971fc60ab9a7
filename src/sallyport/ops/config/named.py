"""What rules name: sets of addresses, schedules, users; and the hosts that `from` and `to` mean."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.schedules import Schedule
from sallyport.core.policy.terms import AllowedAddresses, Terms
from sallyport.ipfilter import IpFilter
from sallyport.ops.config.document import ConfigDocument, Report, nearest
from sallyport.ops.config.rule_shapes import TermsShape
from sallyport.ops.config.selection import Selection
from sallyport.ops.config.toml_lines import KeyPath

# Everything that has one of these is meant to be an address, and everything else a name.
_ADDRESS_LIKE = re.compile(r"[.:/]")


@dataclass(frozen=True, slots=True)
class Named:
    """The names that rules may use, with what they mean."""

    networks: Collection[str]
    sets: Mapping[str, IpFilter] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The groups of each user."""

    def hosts(self, texts: Iterable[str], path: KeyPath, report: Report) -> Hosts:
        """Return the hosts that a list means; mistakes go to `report`."""
        networks, addresses = set[str](), IpFilter()
        for i, text in enumerate(texts):
            if text in self.networks:
                networks.add(text)
            elif text in self.sets:
                addresses = addresses.include_filter(self.sets[text])
            elif not _ADDRESS_LIKE.search(text):
                known = nearest(text, (*self.networks, *self.sets))
                report.add((*path, i), f"no network and no set is named {text!r}; {known}")
            else:
                addresses = addresses.include_filter(_addresses([text], path, report, first=i))
        return Hosts(frozenset(networks), addresses)

    def schedule(self, name: str | None, path: KeyPath, report: Report) -> Schedule | None:
        """Return the schedule of this name; an unknown one goes to `report`."""
        if name is not None and name not in self.schedules:
            report.add(path, f"no schedule is named {name!r}; {nearest(name, self.schedules)}")
        return None if name is None else self.schedules.get(name)

    def check_users(self, names: Sequence[str], path: KeyPath, report: Report) -> None:
        """Check that each name is one of a user, or of a group with an @ before it."""
        groups = {f"@{group}" for groups in self.groups.values() for group in groups}
        known = (*self.groups, *sorted(groups))
        for i, name in enumerate(names):
            if name not in known:
                kind = "no user is in the group" if name.startswith("@") else "no user is named"
                report.add((*path, i), f"{kind} {name!r}; {nearest(name, known)}")


def read_named(document: ConfigDocument, report: Report) -> Named:
    """Return what the tables `sets`, `schedules` and `users` say; mistakes go to `report`."""
    sets = dict[str, IpFilter]()
    for name, texts in document.sets.items():
        if name in document.networks:
            report.add(("sets", name), f"a network is named {name!r} already; rename one of them")
        sets[name] = _addresses(texts, ("sets", name), report)
    schedules = dict[str, Schedule]()
    for name, texts in document.schedules.items():
        found: list[tuple[int, int]] = []
        for i, text in enumerate(texts):
            try:
                found += Schedule.parse(name, [text]).spans
            except ValueError as error:
                report.add(("schedules", name, i), str(error))
        schedules[name] = Schedule(name, tuple(found))
    groups = dict[str, frozenset[str]]()
    for i, user in enumerate(document.users):
        if user is not None:
            if user.name in groups:
                report.add(("users", i, "name"), f"a user {user.name!r} stands above; write one")
            groups[user.name] = frozenset(user.groups)
    return Named(document.networks, sets, schedules, groups)


def read_terms(
    shape: TermsShape,
    path: KeyPath,
    report: Report,
    selection: Selection,
    protocols: Iterable[str],
) -> dict[str, object]:
    """Return the fields of `core.policy.terms.Terms` that a rule's keys mean.

    A key means the field of its name; only those that are written as text are read here.
    """
    named = frozenset(protocols)
    filters = {
        name: settings
        for name, table in shape.filters.items()
        if (settings := selection.settings_in_rule(name, table, named, path)) is not None
    }
    return {one.name: getattr(shape, one.name) for one in fields(Terms)} | {
        "max_bindings_per_client": _most_bindings(
            shape, selection.ports_kept(named, filters), (*path, "max_bindings_per_client"), report
        ),
        "allowed_addresses": AllowedAddresses[shape.allowed_addresses.replace("-", "_").upper()],
        "client_ports": _ports(shape.client_ports, (*path, "client_ports"), report),
        "external_ports": None
        if shape.external_ports is None
        else _ports(shape.external_ports, (*path, "external_ports"), report),
        "filters": filters,
    }


def _most_bindings(shape: TermsShape, kept: int, path: KeyPath, report: Report) -> int:
    """Return how many bindings a client may hold; `kept`: what its filters bind by themselves."""
    written = shape.max_bindings_per_client
    if written is None:
        return limits.MAX_BINDINGS_PER_CLIENT + kept
    if written < kept:
        report.add(
            path,
            f"{written} is less than the {kept} ports of a passive_range; write {kept} or more",
        )
    return written


def _ports(text: str, path: KeyPath, report: Report) -> PortRange:
    try:
        return PortRange.parse(text if "-" in text else f"{text}-{text}")
    except ValueError:
        problem = f"{text!r} is no range of ports; write one within 1-65535, such as 1024-65535"
        report.add(path, problem)
        return PortRange(1, 1)


def _addresses(texts: Iterable[str], path: KeyPath, report: Report, *, first: int = 0) -> IpFilter:
    """Read addresses, prefixes and ranges; the first of them is element `first` of its list."""
    found = IpFilter()
    for i, text in enumerate(texts, start=first):
        try:
            found = found.include_filter(IpFilter.parse(text))
        except ValueError as error:
            report.add((*path, i), str(error))
    return found
