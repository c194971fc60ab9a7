"""The rows of `filters.list`: of a running gateway, or of what is installed."""

from collections.abc import Iterable, Iterator, Mapping

from sallyport.ops.config.catalogue import ON_BY_DEFAULT, Catalogue, FilterKind, FilterUnusable
from sallyport.ops.config.selection import Choice
from sallyport.ops.control.schema import FilterRow, FilterState


def rows_of(choices: Iterable[Choice], faults: Mapping[str, str]) -> Iterator[FilterRow]:
    """Yield the filters of a configuration; `faults` says why some are switched off."""
    for choice in choices:
        fault = faults.get(choice.kind.name)
        if choice.running is None:
            yield _row(choice.kind, state="off")
        elif fault is None:
            yield _row(choice.kind, state="on")
        else:
            yield _row(choice.kind, state="switched-off", reason=fault)


def rows_installed(catalogue: Catalogue, names: Iterable[str]) -> Iterator[FilterRow]:
    """Yield these of the installed filters: off, or failed when they cannot be imported."""
    for name in names:
        try:
            yield _row(catalogue.find(name), state="off")
        except FilterUnusable as error:
            yield FilterRow(
                name=name,
                origin=str(catalogue.origin(name)),
                api_version=None,
                state="failed",
                reason=str(error),
                protocols=[],
                events=[],
                scope=[],
                sources=[],
                on_by_default=name in ON_BY_DEFAULT,
                summary="",
            )


def _row(kind: FilterKind, *, state: FilterState, reason: str | None = None) -> FilterRow:
    return FilterRow(
        name=kind.name,
        origin=str(kind.origin),
        api_version=kind.api_version,
        state=state,
        reason=reason,
        protocols=[protocol.name for protocol in kind.protocols],
        events=sorted(event.__name__ for event in kind.hooks.events),
        # Iterating over a flag gives its single bits: the primary connections have no bit.
        scope=["primary", *(_dashed(one.name) for one in kind.hooks.scope)],
        sources=[_dashed(one.name) for one in kind.hooks.sources],
        on_by_default=kind.name in ON_BY_DEFAULT,
        summary=kind.summary,
    )


def _dashed(name: str | None) -> str:
    return str(name).lower().replace("_", "-")
