"""The reason codes that the source writes: found by where a literal stands, not by how it looks."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.sources import trees

from sallyport.errors import SallyportError

# Doubles and demonstrations: what they say reaches no operator.
_ASIDE = ("testing", "lab", "reasons")

# Calls that take a reason, with its position; negative from the end. `reason=` counts anywhere.
_CALLS: Mapping[str, int] = {
    "kill": -1,
    "close": 0,
    "withdraw": -1,
    "shut_down": 0,
    "end_primary": 1,
    "_shut": -1,
    "_undo": -1,
    "_withdraw": 0,
    "_refuse": -1,
    "_drop": 0,
    "_refused": -1,
    "_read_no_more": 0,
    "_fail": -1,
    "_Fault": 0,
    "_six_numbers": 1,
}


class Found(NamedTuple):
    """One literal in the place of a reason; one that ends in `*` has a varying end."""

    code: str
    where: str


def error_names() -> set[str]:
    """Return the names of the classes whose first argument is a reason."""
    names, waiting = {"UnsupportedFamily", "NotARequest"}, [SallyportError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if "reason" in list(inspect.signature(one.__init__).parameters)[1:2]:
            names.add(one.__name__)
    return names


def found() -> Iterator[Found]:
    """Yield every literal in the place of a reason, in the order of the files."""
    errors = error_names()
    for name, tree in trees().items():
        if name.parts[0] in _ASIDE:
            continue
        for node in ast.walk(tree):
            for value in _values(node, errors):
                for code in _codes(value):
                    yield Found(code, f"{name}:{node.lineno}")  # type: ignore[attr-defined]


def words() -> set[str]:
    """Return every string that the source writes anywhere, in a place of a reason or not."""
    return {
        node.value
        for name, tree in trees().items()
        if name.parts[0] != "reasons"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _values(node: ast.AST, errors: set[str]) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        yield from (one.value for one in node.keywords if one.arg == "reason")
        if called in errors and node.args:
            yield node.args[0]
        at = _CALLS.get(called or "", None)
        if at is not None and len(node.args) > max(at, 0):
            yield node.args[at]
    elif isinstance(node, ast.FunctionDef):
        names = [one.arg for one in node.args.args][-len(node.args.defaults) or None :]
        yield from (
            value
            for name, value in zip(names, node.args.defaults, strict=False)
            if name == "reason"
        )
    elif isinstance(node, ast.AnnAssign | ast.Assign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = {one.id for one in targets if isinstance(one, ast.Name)}
        if node.value is not None and named & {"code", "reason", "_REASONS", "_FAULTS"}:
            yield node.value


def _codes(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant):
        if isinstance(value.value, str):
            yield value.value
    elif isinstance(value, ast.JoinedStr):
        first = value.values[0]
        yield (str(first.value) if isinstance(first, ast.Constant) else "") + "*"
    elif isinstance(value, ast.IfExp):
        yield from _codes(value.body)
        yield from _codes(value.orelse)
    elif isinstance(value, ast.Dict):
        for one in value.values:
            yield from _codes(one)
