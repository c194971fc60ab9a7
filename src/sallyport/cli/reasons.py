"""The command `reasons`: what a reason code means and what to do about it."""

import click

from sallyport.cli.options import with_format
from sallyport.cli.render import Output, or_dash
from sallyport.errors import NotFound
from sallyport.ops.control.schema import ReasonRow, Reasons
from sallyport.reasons import REASONS, Reason, nearest


@click.command()
@click.argument("code", required=False)
@with_format
def reasons(output: Output, code: str | None) -> None:
    """Show what a reason CODE of the log means and what to do; without CODE, list them all.

    Needs no running gateway.
    """
    chosen = list(REASONS.values()) if code is None else [_find(code)]
    if output.as_json:
        output.json(Reasons(reasons=[_row(one) for one in chosen]))
    elif code is None:
        output.table(
            ("CODE", "GROUP", "WHAT HAPPENED"),
            ((one.code, one.group, one.happened) for one in chosen),
            nothing="no reasons",
        )
    else:
        output.facts(_facts(chosen[0]))


def _find(code: str) -> Reason:
    """Return the reason registered for `code`; raises NotFound with those that resemble it."""
    if code in REASONS:
        return REASONS[code]
    similar = nearest(code)
    hint = f"the nearest: {', '.join(similar)}" if similar else "`sallyport reasons` lists them all"
    raise NotFound(f"no reason {code!r}; {hint}")


def _row(one: Reason) -> ReasonRow:
    return ReasonRow(
        code=one.code,
        group=one.group.value,
        happened=one.happened,
        means=one.means,
        remedy=one.remedy,
        key=one.key,
    )


def _facts(one: Reason) -> dict[str, str]:
    return {
        "code": one.code,
        "group": one.group,
        "what happened": one.happened,
        "what it means": one.means,
        "what to do": one.remedy,
        "key": or_dash(one.key),
    }
