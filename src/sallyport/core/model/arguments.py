"""The types of arguments, checked where a filter calls us.

Filters are Python, and not every author checks types. What means nothing is refused by the name of
the argument, at the call, and not somewhere behind it in words about our insides.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import chain
from types import UnionType
from typing import ParamSpec, TypeVar

from sallyport.errors import InvalidArgument

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")

Kind = type | UnionType
"""A class, or several: `Endpoint | None`."""

OCTETS: Kind = bytes | bytearray | memoryview
"""What can be sent."""


def takes(
    **kinds: Kind,
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Return a decorator that checks the arguments named; raises InvalidArgument at the call."""

    def decorate(method: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        names = tuple(inspect.signature(method).parameters)

        @wraps(method)
        def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            for name, value in chain(zip(names, args, strict=False), kwargs.items()):
                if name in kinds:
                    require(name, value, kinds[name])
            return method(*args, **kwargs)

        return checked

    return decorate


def require(name: str, value: object, kind: Kind) -> None:
    """Check one argument; raises InvalidArgument that names it."""
    if not isinstance(value, kind):
        raise InvalidArgument(f"wrong-type-of-{name}")


def each(name: str, values: Iterable[_Item], kind: Kind) -> tuple[_Item, ...]:
    """Return the items of a sequence; raises InvalidArgument when it, or one of them, is none."""
    try:
        found = tuple(values)
    except TypeError:
        raise InvalidArgument(f"wrong-type-of-{name}") from None
    for value in found:
        require(name, value, kind)
    return found
