"""Every event that the source writes to the log is in the registry, with every field it names."""

import ast
import re
from collections.abc import Iterator

from tests.sources import trees

from sallyport.reasons.records import RECORDS

EVENT = re.compile(r"[a-z]+\.[a-z_]+")
WRITERS = {"record", "note", "_note", "_note_bound", "_summarize"}


def written() -> Iterator[tuple[str, str, set[str]]]:
    """Yield each event written, where, and the fields that stand in the call by name."""
    for name, tree in trees().items():
        if name.parts[0] in {"testing", "lab"}:
            continue
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            events = [
                one.value
                for one in node.args
                if isinstance(one, ast.Constant)
                and isinstance(one.value, str)
                and EVENT.fullmatch(one.value)
            ]
            if node.func.attr in WRITERS and events:
                fields = {one.arg for one in node.keywords if one.arg not in {None, "level"}}
                yield events[0], f"{name}:{node.lineno}", {str(field) for field in fields}


def test_every_event_that_is_written_is_registered_with_its_fields() -> None:
    for event, where, fields in written():
        assert event in RECORDS, f"{where}: register {event} in sallyport/reasons/records.py"
        assert fields <= set(RECORDS[event].fields), f"{where}: {event}"


def test_every_registered_event_is_written() -> None:
    assert set(RECORDS) == {event for event, _where, _fields in written()}
