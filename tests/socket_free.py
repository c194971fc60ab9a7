"""Which tests need neither a network nor root: `make check` runs them, coverage counts them."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

# Tests on real sockets of this machine. Those that need a lab have a marker instead.
ON_SOCKETS = ("bench", "frontends", "io", "relay")

# Sphinx takes as long for its pages as a thousand other tests. `make docs` makes them too.
OF_PAGES = "docs/test_pages.py"

MARKERS = ("netns", "interop", "soak")


def needs_sockets(path: Path) -> bool:
    """Return whether the tests at `path`, a file or a folder, use real sockets."""
    return any(path.is_relative_to(HERE / name) for name in ON_SOCKETS)


def is_socket_free(item: pytest.Item) -> bool:
    """Return whether `item` runs without a network, without root, in its short form and quickly."""
    is_quick = item.path != HERE / OF_PAGES and not needs_sockets(item.path)
    return is_quick and not any(map(item.get_closest_marker, MARKERS))
