"""The sources as syntax trees, each parsed once for all the tests that look at them."""

import ast
import gc
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import sallyport

SOURCE = Path(sallyport.__file__).parent


@cache
def trees() -> Mapping[Path, ast.Module]:
    """Return the tree of each file, by its path below the package, in the order of the paths."""
    # Hundreds of thousands of nodes that stay: the garbage collector need not look at them, now or
    # later. With it parsing takes three times as long.
    gc.disable()
    try:
        return {
            path.relative_to(SOURCE): ast.parse(path.read_text(encoding="utf-8"))
            for path in sorted(SOURCE.rglob("*.py"))
        }
    finally:
        gc.freeze()
        gc.enable()
