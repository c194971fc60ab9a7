"""A run as the harness would have measured it, put together by hand."""

from collections.abc import Mapping

from bench.results import Missing, Run, Sample

CASE = "8 control connections"


def run_of(
    figures: Mapping[str, Mapping[str, list[float]]], *, item: str = "transfers", case: str = CASE
) -> Run:
    """Return a run of one case: by setup and metric, a value for each round."""
    run = Run("2026-01-02T03:04:05+00:00", 2, "full", {"kernel": "6.1"}, seconds=60.0)
    for setup, metrics in figures.items():
        for number, values in enumerate(zip(*metrics.values(), strict=True)):
            found = dict(zip(metrics, values, strict=True))
            run.samples.append(Sample(item, case, setup, number, found))
    return run


def missing(run: Run, setup: str, reason: str, *, item: str = "transfers") -> Run:
    """Add something that could not be measured."""
    run.missing.append(Missing(item, CASE, setup, reason))
    return run
