"""Our frozen values as plain JSON values and back, by their type hints; pure.

msgspec does most of this, but decodes no union of two types of its own, and an address is
`IPv4Address | IPv6Address`. Rejected: pickle, which runs what a worker sends.
"""

import dataclasses
import ipaddress
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

_T = TypeVar("_T")

_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)
_NETWORKS = (ipaddress.IPv4Network, ipaddress.IPv6Network)
_TEXTS = (*_ADDRESSES, *_NETWORKS)


def plain(value: object) -> object:
    """Return a value in words of JSON; raises TypeError for what has none."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Struct) or dataclasses.is_dataclass(value):
        value = {name: getattr(value, name) for name in _fields(type(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    raise TypeError(f"{value!r} has no words in JSON")


def value_of(kind: type[_T], words: object) -> _T:
    """Return the value of a type that `plain` has written; raises ValueError for anything else."""
    try:
        value: _T = _read(kind, words)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{words!r} is no {kind.__name__}: {error!r}") from None
    return value


def _read(kind: Any, words: Any) -> Any:  # noqa: ANN401 - types are what this is about
    if get_origin(kind) in {Union, types.UnionType}:
        return _read_one_of(get_args(kind), words)
    if get_origin(kind) in {tuple, frozenset}:
        (item, *_ellipsis) = get_args(kind)
        collect: Callable[[Iterable[object]], object] = get_origin(kind)
        return collect(_read(item, word) for word in _as(list, words))
    if get_origin(kind) is Mapping:
        item = get_args(kind)[1]
        return {key: _read(item, word) for key, word in _as(dict, words).items()}
    if issubclass(kind, Struct) or dataclasses.is_dataclass(kind):
        make: Callable[..., object] = kind if isinstance(kind, type) else type(kind)
        hints = _hints(make)
        return make(**{name: _read(hints[name], word) for name, word in _as(dict, words).items()})
    if issubclass(kind, Enum):
        return kind(words)
    return words if kind is object else _as(kind, words)


def _as(kind: type[_T], words: object) -> _T:
    if type(words) is not kind:
        raise TypeError(f"{words!r} is no {kind.__name__}")
    return words


def _read_one_of(kinds: tuple[Any, ...], words: Any) -> Any:  # noqa: ANN401
    if words is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if set(rest) == set(_ADDRESSES):
        return ipaddress.ip_address(words)
    if set(rest) == set(_NETWORKS):
        return ipaddress.ip_network(words)
    (only,) = rest
    return _read(only, words)


@cache
def _hints(kind: Callable[..., object]) -> dict[str, Any]:
    return get_type_hints(kind)


def _fields(kind: Any) -> Iterable[str]:  # noqa: ANN401
    if issubclass(kind, Struct):
        names: tuple[str, ...] = kind.__struct_fields__
        return names
    return [one.name for one in dataclasses.fields(kind) if one.init]
