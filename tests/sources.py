"""The sources as syntax trees, each parsed once for all the tests that look at them."""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import sallyport

SOURCE = Path(sallyport.__file__).parent


@cache
def trees() -> Mapping[Path, ast.Module]:
    """Return the tree of each file, by its path below the package, in the order of the paths."""
    return {
        path.relative_to(SOURCE): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }
