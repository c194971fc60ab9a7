"""The table of SDK names leads to names that exist."""

import inspect
import re
from pathlib import Path

from sallyport import api

TEXT = (Path(__file__).parents[2] / "docs/reference/sdk.md").read_text(encoding="utf-8")

# Our side of a row: everything behind the first column.
_OURS = [row.split("|", 2)[2] for row in TEXT.splitlines() if row.startswith("| ")]
NAMED = sorted({name for ours in _OURS for name in re.findall(r"`([A-Z]\w+(?:\.\w+)?)`", ours)})


def test_every_name_of_ours_exists() -> None:
    assert len(NAMED) > 50
    assert not [name for name in NAMED if not _exists(name)]


def test_nothing_a_filter_may_import_is_missing() -> None:
    # Nouns and helpers that the SDK has no word for.
    ours_alone = (
        "API_VERSION Binding BindError BindFlags Direction Endpoint Event IpAddress"
        " PortRange ProtocolDefinition ProtocolError DeclarationError Rule State Traffic Transport"
        " Verdict"
        # Stream tools: the SDK leaves the cutting of a stream to each filter.
        " FirstBytes Line LineReader foreign_protocol foreign_server"
        # What an operator sees of a conversation: the SDK has logs alone.
        " Hop Transcript counted"
        # Several bindings that end together; the SDK ties each to one connection.
        " Bundle"
    )

    assert set(api.__all__) - set(re.findall(r"\w+", TEXT)) <= set(ours_alone.split())


def _exists(name: str) -> bool:
    owner, _, member = name.partition(".")
    found = getattr(api, owner, None)
    return found is not None and (not member or hasattr(found, member) or _is_field(found, member))


def _is_field(found: type, name: str) -> bool:
    """Whether instances have it: annotated in the class, or set when they are made."""
    return any(
        name in vars(base).get("__annotations__", {})
        or (base is not object and f"self.{name} = " in inspect.getsource(base))
        for base in found.__mro__
        if base.__module__.startswith("sallyport")
    )
