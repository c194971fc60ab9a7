"""The types of arguments, checked where a filter calls us.

Filters are Python, and not every author checks types. What means nothing is refused by the name of
the argument, at the call, and not somewhere behind it in words about our insides.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import repeat
from types import NoneType, UnionType
from typing import ParamSpec, TypeVar

from sallyport.errors import InvalidArgument

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")

Kind = type | UnionType
"""A class, or several: `Endpoint | None`."""

OCTETS: Kind = bytes | bytearray | memoryview
"""What can be sent."""

Classes = tuple[type, ...]

_ANYTHING: Classes = (object,)


def takes(
    **kinds: Kind,
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Return a decorator that checks the arguments named; raises InvalidArgument at the call."""

    classes = {name: classes_of(kind) for name, kind in kinds.items()}

    def decorate(method: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        names = tuple(inspect.signature(method).parameters)
        in_order = tuple(classes.get(name, _ANYTHING) for name in names)

        @wraps(method)
        def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            if not all(map(isinstance, args, in_order)):
                require_each(zip(names, args, in_order, strict=False))
            for name, value in kwargs.items():
                if not isinstance(value, classes.get(name, _ANYTHING)):
                    raise _wrong(name)
            return method(*args, **kwargs)

        return checked

    return decorate


def classes_of(kind: Kind) -> Classes:
    """Return the classes of a kind as `isinstance` knows them soonest: None, as most are, first."""
    classes = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    return tuple(sorted(classes, key=lambda one: one is not NoneType))


def require_each(arguments: Iterable[tuple[str, object, Classes]]) -> None:
    """Check arguments, each with its name and classes; raises InvalidArgument for the first."""
    for name, value, classes in arguments:
        if not isinstance(value, classes):
            raise _wrong(name)


def require(name: str, value: object, kind: Kind) -> None:
    """Check one argument; raises InvalidArgument that names it."""
    if not isinstance(value, kind):
        raise _wrong(name)


def each(name: str, values: Iterable[_Item], kind: Kind) -> tuple[_Item, ...]:
    """Return the items of a sequence; raises InvalidArgument when it, or one of them, is none."""
    try:
        found = tuple(values)
    except TypeError:
        raise _wrong(name) from None
    if not all(map(isinstance, found, repeat(kind))):
        raise _wrong(name)
    return found


def _wrong(name: str) -> InvalidArgument:
    return InvalidArgument(f"wrong-type-of-{name}")
