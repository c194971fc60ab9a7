"""The command `filters list`: which filters run, which could, what each registered for."""

from collections.abc import Iterable
from pathlib import Path

import click

from sallyport.cli.options import PATH, with_output
from sallyport.cli.render import Output, or_dash
from sallyport.errors import NotRunning
from sallyport.ops.config.catalogue import Catalogue, FilterUnusable
from sallyport.ops.config.load import defaults, load
from sallyport.ops.control.client import request
from sallyport.ops.control.filter_rows import rows_installed, rows_of
from sallyport.ops.control.schema import FilterRow, Filters


@click.group()
def filters() -> None:
    """Show the protocol filters."""


@filters.command("list")
@click.option("--config", "config_file", type=PATH, help="Show what this TOML file would run.")
@with_output
def list_filters(output: Output, config_file: Path | None) -> None:
    """List the protocol filters: where each comes from and what it registered for.

    Those of the running gateway first, or, when none is running, as they would be without a file;
    then the others that are installed.
    """
    catalogue = Catalogue.installed()
    rows = _rows(output, config_file, catalogue)
    known = {row.name for row in rows}
    others = [name for name in catalogue.names if name not in known]
    answer = Filters(filters=[*rows, *rows_installed(catalogue, others)])
    if output.as_json:
        output.json(answer)
    else:
        _show(output, answer.filters)


def _rows(output: Output, config_file: Path | None, catalogue: Catalogue) -> list[FilterRow]:
    """Return the filters of a file, of the running gateway, or those on by default."""
    if config_file is not None:
        return list(rows_of(load(config_file, catalogue).filters, {}))
    try:
        return request(output.control_socket, "filters.list", expect=Filters).filters
    except NotRunning:
        pass
    try:
        return list(rows_of(defaults(catalogue), {}))
    except FilterUnusable:
        return []  # It is shown as failed, among the installed filters.


def _show(output: Output, rows: Iterable[FilterRow]) -> None:
    rows = list(rows)
    output.table(
        ("FILTER", "STATE", "ORIGIN", "API", "PROTOCOLS", "EVENTS", "WHAT"),
        (
            (
                row.name,
                row.state,
                row.origin,
                "-" if row.api_version is None else str(row.api_version),
                or_dash(", ".join(row.protocols)),
                or_dash(_registered(row)),
                row.summary,
            )
            for row in rows
        ),
        nothing="no filters",
    )
    for row in rows:
        if row.reason is not None:
            click.echo(f"{row.name}: {row.reason}", err=True)


def _registered(row: FilterRow) -> str:
    """Return the events a filter registered for, and the scope where it is more than its own."""
    text, wide = ", ".join(row.events), [scope for scope in row.scope if scope != "primary"]
    if wide:
        text += f" ({', '.join(wide)})"
    return text if len(row.sources) != 1 else f"{text} from {row.sources[0]} only"
