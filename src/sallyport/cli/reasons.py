"""The command `reasons`: what a reason code means and what to do about it."""

import click

from sallyport.cli.options import with_format
from sallyport.cli.render import Output, or_dash
from sallyport.ops.control.reason_rows import reason_rows
from sallyport.ops.control.schema import ReasonRow


@click.command()
@click.argument("code", required=False)
@with_format
def reasons(output: Output, code: str | None) -> None:
    """Show what a reason CODE of the log means and what to do; without CODE, list them all.

    Needs no running gateway.
    """
    answer = reason_rows(code)
    if output.as_json:
        output.json(answer)
    elif code is None:
        output.table(
            ("CODE", "GROUP", "WHAT HAPPENED"),
            ((one.code, one.group, one.happened) for one in answer.reasons),
            nothing="no reasons",
        )
    else:
        output.facts(_facts(answer.reasons[0]))


def _facts(one: ReasonRow) -> dict[str, str]:
    return {
        "code": one.code,
        "group": one.group,
        "what happened": one.happened,
        "what it means": one.means,
        "what to do": one.remedy,
        "key": or_dash(one.key),
    }
