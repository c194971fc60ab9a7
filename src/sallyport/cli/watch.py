"""The commands `events` and `trace`: records of the gateway while they are made."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime

import click

from sallyport.cli.options import with_output
from sallyport.cli.render import Output
from sallyport.ops.control.client import follow

# What is in each record, and what a line begins with anyway.
_HEAD = frozenset({"time", "level", "event", "worker"})
_STEPS = frozenset({*_HEAD, "steps"})


@click.command()
@with_output
def events(output: Output) -> None:
    """Print each record of all workers as a line of JSON while it is made, until interrupted.

    Records are those of the log, of every level, also where the log leaves repetitions out. Who
    reads too slowly misses some, and gets a line that says how many: {"lost": 12}.
    """
    _print_lines(output, "events", {})


@click.command()
@click.option("--client", metavar="ADDRESS", help="Only this client, inside or outside.")
@click.option("--session", metavar="ID", help="Only this session.")
@click.option("--protocol", metavar="NAME", help="Only what is said in this protocol.")
@with_output
def trace(output: Output, /, **chosen: str | None) -> None:
    """Show what a gateway hears, understands, decides and does, while it does, until interrupted.

    Lines of the dialogue in both directions, with credentials masked and payload counted; how each
    request is decided, step by step; what the kernel is asked to do, and how long it takes. With
    --json, each record as a line of JSON.
    """
    wanted = {key: value for key, value in chosen.items() if value is not None}
    if output.as_json:
        _print_lines(output, "trace", wanted)
        return
    with _until_interrupted(output, "trace", wanted) as lines:
        for text in _texts(map(json.loads, lines)):
            click.echo(text)


def _print_lines(output: Output, stream: str, arguments: Mapping[str, str]) -> None:
    with _until_interrupted(output, stream, arguments) as lines:
        for line in lines:
            click.echo(line)


@contextmanager
def _until_interrupted(
    output: Output, stream: str, arguments: Mapping[str, str]
) -> Iterator[Iterator[bytes]]:
    with closing(follow(output.control_socket, stream, **arguments)) as lines:
        try:
            yield lines
        except KeyboardInterrupt:  # the way to end it
            return


def _texts(records: Iterator[dict[str, object]]) -> Iterator[str]:
    """Yield the lines that people read, each with the time since the one before."""
    before: datetime | None = None
    for record in records:
        if "event" not in record:
            yield f"{'':>12}  {record['lost']} records were lost here: they came too fast"
            continue
        now = datetime.fromisoformat(str(record["time"]))
        passed = 0.0 if before is None else (now - before).total_seconds()
        before = now
        who = str(record.get("session", ""))
        yield f"{passed * 1000:+9.1f} ms  {who:<7} {_text(record)}".rstrip()
        steps = record.get("steps")
        for step in steps if isinstance(steps, list) else ():
            yield f"{'':>12}  {'':<7}   {step}"


def _text(record: Mapping[str, object]) -> str:
    match record["event"]:
        case "trace.said":
            return f"{record['sender']:>7} > {record['receiver']:<7}  {record['text']}"
        case "trace.decided":
            return f"decided: {record['reason']}{_fields(record, _STEPS | {'reason', 'session'})}"
        case _:
            return f"{record['event']}{_fields(record, _HEAD | {'session', 'meaning', 'remedy'})}"


def _fields(record: Mapping[str, object], without: frozenset[str]) -> str:
    return "".join(f" {key}={value}" for key, value in record.items() if key not in without)
