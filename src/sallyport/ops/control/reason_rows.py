"""The rows of `reasons`: what each code means, the same for every gateway of this release."""

from sallyport.errors import NotFound
from sallyport.ops.control.schema import ReasonRow, Reasons
from sallyport.reasons import REASONS, Reason, nearest


def reason_rows(code: str | None = None) -> Reasons:
    """Return every reason, or the one with this code; raises NotFound with those like it."""
    chosen = REASONS.values() if code is None else [_find(code)]
    return Reasons(reasons=[_row(one) for one in chosen])


def _find(code: str) -> Reason:
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
