"""Finding filters: packages offer them by entry point, the configuration names files.

What is found is the code of others. Nothing of it runs before it is asked for by name or protocol,
and whatever it raises then becomes `FilterUnusable`, one line that says who is at fault.
"""

import dataclasses
import os
import re
import stat
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FrameType, ModuleType
from typing import Literal, get_type_hints

import msgspec
from msgspec import inspect

from sallyport import limits
from sallyport.api import API_VERSION, ApplicationFilter, Hooks, ProtocolDefinition, Scope
from sallyport.errors import ConfigError, ConfigErrors, DeclarationError, OperatorError
from sallyport.ops.config.toml_lines import line_map, read_toml
from sallyport.ops.watchdog import at_most

ON_BY_DEFAULT = ("ftp", "tftp")
"""The filters whose protocols are supervised where no rule names them; without a file, allowed."""

GROUP = "sallyport.filters"
"""The entry point group; the filters that come with Sallyport are in it like all others."""

LOADER_KEYS = ("path", "enabled", "ports")
"""The keys of `[filters.NAME]` that are the gateway's own; all others are the filter's."""

_OURS = "sallyport"

# Names stand in tables, logs and TOML headers without quotes.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class FilterUnusable(OperatorError):
    """A filter cannot be imported or built, or is not what it says; the message says why."""

    code = "filter-unusable"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a filter comes from."""

    kind: Literal["builtin", "package", "path"]
    where: str
    """`NAME VERSION` of the package, or the path."""

    def __str__(self) -> str:
        return self.kind if self.kind == "builtin" else f"{self.kind} {self.where}"


@dataclass(frozen=True, slots=True)
class FilterKind:
    """A filter before it is built: what rules may name, what it is told, which keys it takes."""

    name: str
    origin: Origin
    api_version: int
    protocols: tuple[ProtocolDefinition, ...]
    hooks: Hooks
    settings: type | None
    """A frozen dataclass, a field for each key; None when there is nothing to choose."""
    summary: str
    build: Callable[[object], ApplicationFilter]
    """Makes the filter from a value of `settings`; the code of others, call it in a `fence`."""

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"filter {self.name!r} ({self.origin})"

    @property
    def is_bound(self) -> bool:
        """Whether it only looks at its own protocols, and so is off where no rule allows one."""
        return bool(self.protocols) and Scope.ANY_PROTOCOL not in self.hooks.scope


class Catalogue:
    """The filters that packages offer, by name; one is imported when it is first looked for."""

    def __init__(self, offers: Iterable[EntryPoint]) -> None:
        self._offers: dict[str, list[EntryPoint]] = {}
        for offer in sorted(offers, key=_place):
            self._offers.setdefault(offer.name, []).append(offer)
        self._found: dict[str, FilterKind] = {}

    @classmethod
    @cache
    def installed(cls) -> "Catalogue":
        """Return what the packages of this Python offer; import none of them.

        One for a process: Python imports a module once, and so a new release needs a restart.
        """
        return cls(entry_points(group=GROUP))

    @property
    def names(self) -> tuple[str, ...]:
        """The names on offer, those that come with Sallyport first."""
        return tuple(self._offers)

    @cached_property
    def builtin(self) -> tuple[str, ...]:
        """The names of those that come with Sallyport.

        Found once: an entry point reads the metadata of its package anew each time it is asked.
        """
        return tuple(name for name, offers in self._offers.items() if _is_ours(offers[0]))

    def origin(self, name: str) -> Origin:
        """Return where the filter comes from; raises KeyError for a name that no package offers."""
        return _origin_of(self._offers[name][0])

    def find(self, name: str) -> FilterKind:
        """Import the filter; raises FilterUnusable, also for a name that no package offers."""
        if name not in self._found:
            self._found[name] = self._import(name)
        return self._found[name]

    def _import(self, name: str) -> FilterKind:
        if name not in self._offers:
            raise FilterUnusable(f"no package offers a filter {name!r}; install one")
        offer, *others = self._offers[name]
        if others:
            both = f"{_origin_of(offer)} and {_origin_of(others[0])}"
            raise FilterUnusable(f"{both} both offer a filter {name!r}; uninstall one of them")
        title = f"filter {name!r} ({_origin_of(offer)})"
        with fence(title):
            return _kind_of(offer.load(), name, _origin_of(offer), title)


def read_file(path: Path, name: str) -> FilterKind:
    """Return the one filter in a file, Python or, by its suffix `.toml`, declarative.

    Python: the only subclass of ApplicationFilter that the file defines, or its `FILTER`. It is
    imported afresh at every call. Raises FilterUnusable; ConfigErrors for what is wrong inside a
    declaration.
    """
    title, origin = f"filter {name!r} ({path})", Origin("path", str(path))
    with fence(title, origin.where):
        text = _read_safely(path)
        if path.suffix == ".toml":
            return _kind_of(_declared(text, path), name, origin, title)
        return _kind_of(_defined(_import_text(text, path), title), name, origin, title)


def _kind_of(found: object, name: str, origin: Origin, title: str) -> FilterKind:
    """Check that a class, or a filter that was declared, keeps what the interface promises."""
    if isinstance(found, type) and issubclass(found, ApplicationFilter):
        settings = found.settings
        build: Callable[[object], ApplicationFilter] = (
            found if settings is not None else lambda _nothing: found()
        )
    elif isinstance(found, ApplicationFilter) and origin.kind == "path":
        # A file makes one at each reload; a package's would start again while sessions have it.
        settings, made = None, found
        build = lambda _nothing: made  # noqa: E731 - as above
    else:
        raise FilterUnusable(f"{title}: {found!r} is no subclass of ApplicationFilter")
    version = getattr(found, "api_version", None)
    if version is None:
        raise FilterUnusable(f"{title} declares no API version; write api_version = {API_VERSION}")
    if version != API_VERSION:
        raise FilterUnusable(
            f"{title} declares API version {version!r}, and this gateway speaks {API_VERSION};"
            " get a release for that"
        )
    if found.name != name or not _NAME.fullmatch(name):
        raise FilterUnusable(
            f"{title} calls itself {found.name!r}; both names must be one, of at most 32 letters,"
            " digits, - or _"
        )
    _check_types(found, title)
    _check_settings(settings, title)
    return FilterKind(
        name=name,
        origin=origin,
        api_version=version,
        protocols=found.protocols,
        hooks=found.hooks,
        settings=settings,
        summary=_one_line((found.__doc__ or "").strip().partition("\n")[0]),
        build=build,
    )


def _check_types(found: ApplicationFilter | type[ApplicationFilter], title: str) -> None:
    protocols: object = found.protocols
    if not isinstance(protocols, tuple) or not all(
        isinstance(one, ProtocolDefinition) for one in protocols
    ):
        raise FilterUnusable(f"{title}: its protocols are no tuple of ProtocolDefinition")
    names = [(one.name, one.transport) for one in found.protocols]
    if len(set(names)) != len(names):
        twice = ", ".join(name for name, _transport in names)
        raise FilterUnusable(f"{title} defines a protocol twice: {twice}")
    hooks: object = found.hooks
    if not isinstance(hooks, Hooks):
        raise FilterUnusable(f"{title}: its hooks are no Hooks")


def _check_settings(settings: object, title: str) -> None:
    """Check that the settings can be read from a table."""
    if settings is None:
        return
    parameters = getattr(settings, "__dataclass_params__", None)
    if not isinstance(settings, type) or parameters is None or not parameters.frozen:
        raise FilterUnusable(f"{title}: its settings are no frozen dataclass")
    for field in dataclasses.fields(settings):
        if field.name in LOADER_KEYS:
            raise FilterUnusable(f"{title}: its key {field.name!r} is the gateway's; rename it")
    msgspec.json.Decoder(settings)  # TypeError names what no table can hold
    hints = get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        if isinstance(inspect.type_info(hints[field.name]), inspect.CustomType):
            raise FilterUnusable(
                f"{title}: its key {field.name!r} is of a type that no table has; let it be a str,"
                " and read that in the filter"
            )


# -- files --------------------------------------------------------------------------------------


def _read_safely(path: Path) -> str:
    """Read a file that only root or our own user can change: it is to run with our privileges."""
    try:
        for folder in {path.parent, path.resolve().parent}:
            _require_safe(folder, folder.stat())
        with path.open("rb") as file:
            _require_safe(path, os.fstat(file.fileno()))
            content = file.read(limits.MAX_CONFIGURATION_BYTES + 1)
        if len(content) > limits.MAX_CONFIGURATION_BYTES:
            raise FilterUnusable(f"{path} is longer than {limits.MAX_CONFIGURATION_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise FilterUnusable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FilterUnusable(f"{path} is not UTF-8; save the file as UTF-8") from None


def _require_safe(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise FilterUnusable(f"{path} belongs to user {status.st_uid}; chown root {path}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FilterUnusable(f"{path} is writable by others than its owner; chmod go-w {path}")


def _import_text(text: str, path: Path) -> ModuleType:
    """Run the text as a module. No cache of byte code: those go by seconds, and miss an edit."""
    module = ModuleType(f"sallyport filter {path}")
    module.__file__ = str(path)
    # Where dataclasses and type hints look for what a class was defined beside. What an older
    # edition of the file defined goes on as it was, and its module ends with it.
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, path, "exec"), vars(module))  # noqa: S102 - what the operator named
    except BaseException:
        del sys.modules[module.__name__]
        if before is not None:
            sys.modules[module.__name__] = before
        raise
    return module


def _defined(module: ModuleType, title: str) -> object:
    chosen: object = getattr(module, "FILTER", None)
    if chosen is not None:
        return chosen
    defined = [
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, ApplicationFilter)
        and one.__module__ == module.__name__
    ]
    if len(defined) != 1:
        raise FilterUnusable(
            f"{title} defines {len(defined)} subclasses of ApplicationFilter; define one, or say"
            " which by FILTER = …"
        )
    return defined[0]


def _declared(text: str, path: Path) -> ApplicationFilter:
    # Few have such a file, and only they pay for reading its form.
    from sallyport.filters.declarative import load_declarative  # noqa: PLC0415 - see above

    read_toml(text, str(path))  # what is no TOML has no lines to point at
    try:
        return load_declarative(text, str(path))
    except DeclarationError as error:
        lines, key = line_map(text), error.key
        while key and key not in lines:
            key = key[:-1]
        raise ConfigErrors([ConfigError(str(path), lines.get(key, 1), error.problem)]) from None


# -- entry points -------------------------------------------------------------------------------


def _is_ours(offer: EntryPoint) -> bool:
    return offer.dist is not None and offer.dist.name == _OURS


def _place(offer: EntryPoint) -> tuple[bool, bool, str, str]:
    """Order offers: ours first, what is on by default before the rest, then by name."""
    is_off = offer.name not in ON_BY_DEFAULT
    return not _is_ours(offer), is_off, offer.name, str(_origin_of(offer))


def _origin_of(offer: EntryPoint) -> Origin:
    package = "unknown" if offer.dist is None else f"{offer.dist.name} {offer.dist.version}"
    return Origin("builtin" if _is_ours(offer) else "package", package)


@contextmanager
def fence(title: str, file: str = "") -> Iterator[None]:
    """Turn whatever a filter's code raises, SystemExit included, into FilterUnusable.

    The message names the line of `file` that was running. Code that does not come back is cut. What
    it prints is no answer of ours, and goes to stderr.
    """
    try:
        with redirect_stdout(sys.stderr), at_most(limits.FILTER_LOAD_SECONDS):
            yield
    except (OperatorError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a filter raises; not ours to obey
        said = (f"{title} fails: {type(error).__name__}: {error}", *_details(error, file))
        raise FilterUnusable(_one_line(" ".join(said))) from error


def _details(error: BaseException, file: str) -> Iterator[str]:
    """Yield what was noted about an error, and the line of `file` where it was."""
    yield from getattr(error, "__notes__", ())
    lines = [one[1] for one in traceback.walk_tb(error.__traceback__) if _file_of(one[0]) == file]
    if lines:
        yield f"(line {lines[-1]})"


def _file_of(frame: FrameType) -> str:
    return frame.f_code.co_filename


def _one_line(text: str) -> str:
    """Return text of others as one line, for a terminal and for a log."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
