"""Which protocols are supervised, and which filters run for them.

A protocol is *supervised*, and its connections intercepted, when a rule names it, whatever the rule
says, or when it is so by default: otherwise a rule that denies would let it pass unseen.

A filter is *bound* when it only looks at its own protocols; a rule turns it on. One that looks at
everybody's runs where the configuration has a section for it. Every other filter is off, and a
package that nothing needs is not even imported.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from sallyport.addresses import MAX_PORT, PortRange
from sallyport.api import ApplicationFilter, Direction, ProtocolDefinition, Transport
from sallyport.errors import ConfigErrors
from sallyport.frontends.rights import RIGHTS
from sallyport.ops.config.catalogue import (
    LOADER_KEYS,
    ON_BY_DEFAULT,
    Catalogue,
    FilterKind,
    FilterUnusable,
    fence,
    read_file,
)
from sallyport.ops.config.document import Report, nearest, read_table, shown
from sallyport.ops.config.toml_lines import KeyPath

_PortNumber = Annotated[int, Meta(ge=1, le=MAX_PORT)]
_TlsPort = Annotated[str, Meta(pattern=r"^tls:[1-9][0-9]{0,4}$")]


class LoaderKeys(Struct, frozen=True):
    """What `[filters.NAME]` says to us and not to the filter."""

    path: (
        Annotated[str, Meta(min_length=1, description="the path of a filter file, in quotes")]
        | None
    ) = None
    """The file of a filter that no package offers: Python, or declarative when it ends in `.toml`.
    Relative to the folder of the configuration."""
    enabled: Annotated[bool, Meta(description="true or false")] = True
    """Whether the filter may run; false keeps it off whatever the rules name."""
    ports: (
        Annotated[
            list[_PortNumber | _TlsPort],
            Meta(min_length=1, description='a list of ports, such as [21, 2121, "tls:990"]'),
        ]
        | None
    ) = None
    """Where clients inside speak the filter's protocols; "tls:990" where they begin with TLS.
    Without the key the ports of the protocols themselves."""


@dataclass(frozen=True, slots=True)
class _NoKeys:
    """The settings of a filter that has none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter that can run; `running` is the filter itself, None while it is off."""

    kind: FilterKind
    settings: Mapping[str, object]
    running: ApplicationFilter | None


class Selection:
    """Finds the filters that `[filters]` and the rules name; mistakes go to the report."""

    def __init__(
        self,
        sections: Mapping[str, object],
        catalogue: Catalogue,
        report: Report,
        folder: Path = Path(),
    ) -> None:
        """Find what the sections name; relative paths of filter files begin at `folder`."""
        self._sections = sections
        self._catalogue = catalogue
        self._report = report
        self._folder = folder
        self._kinds: dict[str, FilterKind] = {}
        self._broken: dict[str, FilterUnusable] = {}
        named = {name: self._loader_keys(name) for name in sections}
        self._ports = {name: keys.ports for name, keys in named.items() if keys and keys.ports}
        self._off = {name for name, keys in named.items() if keys and not keys.enabled}
        for name in dict.fromkeys((*catalogue.builtin, *sections)):
            keys = named.get(name)
            if name not in sections:
                self._kinds.update((kind.name, kind) for kind in self._look([name]))
            elif keys is not None and keys.enabled:
                self._take(name, keys.path)

    def fault(self, protocol: str, direction: Direction, *, is_allowed: bool) -> str | None:
        """Say why a rule cannot name `protocol` and what to write instead; None when it can.

        Where no other filter speaks it, the packages that no section names are looked through.
        `is_allowed`: the rule lets it be used, so that a filter for it has to run.
        """
        if protocol in self._spoken(direction):
            return None
        if protocol in RIGHTS and direction is Direction.OUTBOUND:
            return None
        speakers = [kind for kind in self._unnamed() if protocol in _names(kind, direction)]
        if len(speakers) == 1:
            return self._admit(speakers[0])
        if speakers:
            both = " and ".join(f"{kind.name!r} ({kind.origin})" for kind in speakers)
            return f"filters {both} speak {protocol!r}; write a section for the one that is meant"
        for kind in self._look(self._off):
            if protocol in _names(kind, direction):
                return _switched_off(kind, protocol) if is_allowed else None
        verb = "speaks" if direction is Direction.OUTBOUND else "publishes"
        names = [*self._spoken(direction)]
        if direction is Direction.OUTBOUND:
            names += RIGHTS
        known = ", ".join(names) or "none"
        broken = "".join(f"; {error}" for error in self._broken.values())
        return f"no filter {verb} {protocol!r}; write one of: {known}{broken}{self._unread()}"

    def transport_of_published(self, protocol: str) -> Transport:
        """Return the transport of an inbound protocol in which `fault` found nothing wrong."""
        for kind in self._kinds.values():
            for one in kind.protocols:
                if one.name == protocol and one.direction is Direction.INBOUND:
                    return one.transport
        raise KeyError(protocol)

    def supervised(self, named: Collection[str]) -> tuple[ProtocolDefinition, ...]:
        """Return the outbound protocols to intercept: those `named` by rules, and the defaults.

        A filter need not run for that, nor be enabled. What rules name takes its port from what is
        supervised by default. Two named protocols at one port are a mistake.
        """
        by_place: dict[tuple[Transport, int], ProtocolDefinition] = {}
        for kind in (*self._kinds.values(), *self._look(self._off)):
            for one in self._spoken_by(kind):
                if one.name not in named:
                    continue
                other = by_place.setdefault((one.transport, one.dialled_port), one)
                if other.name != one.name:
                    self._report.add(
                        ("filters", kind.name),
                        f"{other.name!r} and {one.name!r} are both spoken at port"
                        f" {one.dialled_port}; name one of them in rules",
                    )
        for name in ON_BY_DEFAULT:
            for one in self._spoken_by(self._kinds[name]) if name in self._kinds else ():
                by_place.setdefault((one.transport, one.dialled_port), one)
        return tuple(by_place.values())

    def _spoken_by(self, kind: FilterKind) -> Iterator[ProtocolDefinition]:
        """Yield the outbound protocols of a filter, once for each port that the operator names."""
        outbound = [one for one in kind.protocols if one.direction is Direction.OUTBOUND]
        ports = self._ports.get(kind.name)
        if ports is None:
            for one in outbound:
                yield one
                yield from (replace(one, spoken_at=port) for port in one.other_ports)
            return
        for i, port in enumerate(ports):
            number = int(str(port).removeprefix("tls:"))
            if number > MAX_PORT or port in ports[:i]:
                self._report.add(
                    ("filters", kind.name, "ports", i),
                    f"{shown(port)} is no port or stands before; write each port once, 1-65535",
                )
                continue
            for one in outbound:
                yield replace(one, spoken_at=number, is_in_tls=isinstance(port, str))

    def begins_with_tls(self, protocol: str, port: int) -> bool:
        """Whether a server that speaks an inbound protocol at `port` begins with TLS there."""
        return any(
            f"tls:{port}" in self._ports.get(kind.name, ())
            for kind in self._kinds.values()
            if protocol in _names(kind, Direction.INBOUND)
        )

    def known_outbound(self) -> list[str]:
        """Return the protocols of clients inside for which a filter was found, running or not."""
        kinds = (*self._kinds.values(), *self._look(self._off))
        return sorted({name for kind in kinds for name in _names(kind, Direction.OUTBOUND)})

    def choices(self, wanted: Collection[str]) -> tuple[Choice, ...]:
        """Return every filter found; those that speak one of the `wanted` protocols are running."""
        found = (self._choose(kind, wanted) for kind in self._kinds.values())
        return tuple(choice for choice in found if choice is not None)

    def settings_in_rule(
        self, name: str, table: object, protocols: Collection[str], rule: KeyPath
    ) -> Mapping[str, object] | None:
        """Return the settings of a filter that a rule at path `rule` writes otherwise.

        Mistakes go to the report, with None. `protocols`: those that the rule names.
        """
        path, kind = (*rule, "filters", name), self._kinds.get(name)
        if kind is None or not any(one.name in protocols for one in kind.protocols):
            speaking = [
                one.name
                for one in self._kinds.values()
                if any(protocol.name in protocols for protocol in one.protocols)
            ]
            problem = f"the filter {name!r} speaks no protocol of this rule"
            self._report.add(path, f"{problem}; {nearest(name, speaking)}")
            return None
        written = table if isinstance(table, dict) else {}
        others = {k: value for k, value in self._written_for(name).items() if k not in written}
        shape: type[Any] = kind.settings or _NoKeys
        silent = Report("", {})
        if read_table(others, shape, path, silent) is None:
            others = {}  # said where that section is read
        merged = {**others, **written} if isinstance(table, dict) else table
        settings = read_table(merged, shape, path, self._report)
        return (
            None
            if settings is None
            else {key: getattr(settings, key) for key in written if hasattr(settings, key)}
        )

    def ports_kept(
        self, protocols: Collection[str], own: Mapping[str, Mapping[str, object]]
    ) -> int:
        """Return how many ports the filters of these protocols bind by their numbers for a client.

        They are those of each setting that is a range of ports; `own`: the rule's own settings.
        """
        count = 0
        for kind in self._kinds.values():
            if any(one.name in protocols for one in kind.protocols):
                settings = {**self._section_of(kind), **own.get(kind.name, {})}
                count += sum(len(one) for one in settings.values() if isinstance(one, PortRange))
        return count

    def _section_of(self, kind: FilterKind) -> Mapping[str, object]:
        """Return the settings of a filter's section; empty where they are not right."""
        shape: type[Any] = kind.settings or _NoKeys
        try:
            with fence(kind.title, kind.origin.where):
                settings = read_table(self._written_for(kind.name), shape, (), Report("", {}))
        except FilterUnusable:
            settings = None  # said where that section is read
        return {one.name: getattr(settings, one.name) for one in fields(shape) if settings}

    def _written_for(self, name: str) -> dict[str, object]:
        """Return what a section says to its filter, and not to us."""
        section = self._sections.get(name, {})
        keys = section.items() if isinstance(section, dict) else ()
        return {key: value for key, value in keys if key not in LOADER_KEYS}

    def _choose(self, kind: FilterKind, wanted: Collection[str]) -> Choice | None:
        path, theirs = ("filters", kind.name), self._written_for(kind.name)
        shape: type[Any] = kind.settings or _NoKeys
        is_named = kind.name in self._sections and not kind.is_bound
        is_wanted = is_named or any(one.name in wanted for one in kind.protocols)
        try:
            with fence(kind.title, kind.origin.where):
                settings = read_table(theirs, shape, path, self._report, also=LOADER_KEYS)
                if settings is None:
                    return None
                running = kind.build(settings) if is_wanted else None
        except FilterUnusable as error:
            self._report.add(path, str(error))
            return None
        keys_read = {one.name: getattr(settings, one.name) for one in fields(shape)}
        return Choice(kind, keys_read, running)

    def _loader_keys(self, name: str) -> LoaderKeys | None:
        section = self._sections[name]
        if isinstance(section, dict):
            section = {key: value for key, value in section.items() if key in LOADER_KEYS}
        keys = read_table(section, LoaderKeys, ("filters", name), self._report)
        # With a mistake in its section a package's filter is still one that rules may name.
        return LoaderKeys() if keys is None and name in self._catalogue.names else keys

    def _take(self, name: str, file: str | None) -> None:
        """Find the filter of one section, in a package or in a file."""
        is_offered = name in self._catalogue.names
        path = ("filters", name) if file is None else ("filters", name, "path")
        problem: str | None = None
        try:
            if file is None and not is_offered:
                known = nearest(name, self._catalogue.names)
                problem = f"unknown filter {name!r}; {known}, or give it a path"
            elif file is None:
                problem = self._admit(self._catalogue.find(name))
            elif is_offered:
                origin = self._catalogue.origin(name)
                problem = f"there is a filter {name!r} already ({origin}); give this one another"
            else:
                problem = self._admit(read_file(self._folder / file, name))
        except FilterUnusable as error:
            problem = str(error)
        except ConfigErrors as errors:
            self._report.errors.extend(errors.errors)
        if problem is not None:
            self._report.add(path, problem)

    def _admit(self, kind: FilterKind) -> str | None:
        """Take a filter in, or say which other means something else by a protocol's name.

        Several may share a definition: one holds the dialogue, another hashes what it transfers.
        """
        theirs = {(one.name, one.transport): one for one in kind.protocols}
        for other in self._kinds.values():
            for one in other.protocols:
                if theirs.get((one.name, one.transport), one) != one:
                    return (
                        f"filters {kind.name!r} ({kind.origin}) and {other.name!r} ({other.origin})"
                        f" define {one.name!r} differently; write enabled = false for one of them"
                    )
        self._kinds[kind.name] = kind
        return None

    def _spoken(self, direction: Direction) -> list[str]:
        names = (name for kind in self._kinds.values() for name in _names(kind, direction))
        return list(dict.fromkeys(names))

    def _unread(self) -> str:
        """Name the sections whose files were not looked at: what they speak is not known."""
        unread = [name for name in self._sections if name in self._off - {*self._catalogue.names}]
        return "".join(f"; [filters.{name}] has enabled = false" for name in unread)

    def _unnamed(self) -> list[FilterKind]:
        """Import what packages offer and no section names."""
        names = (name for name in self._catalogue.names if name not in self._sections)
        return self._look(name for name in names if name not in self._kinds)

    def _look(self, names: Iterable[str]) -> list[FilterKind]:
        """Import filters that no section names: a broken one is noted and is not a mistake."""
        found: list[FilterKind] = []
        for name in names:
            if name in self._catalogue.names:
                try:
                    found.append(self._catalogue.find(name))
                except FilterUnusable as error:
                    self._broken[name] = error
        return found


def _names(kind: FilterKind, direction: Direction) -> list[str]:
    return [one.name for one in kind.protocols if one.direction is direction]


def _switched_off(kind: FilterKind, protocol: str) -> str:
    return (
        f"filter {kind.name!r} speaks {protocol!r}, and [filters.{kind.name}] has enabled = false;"
        " take the protocol out, or remove that key"
    )
