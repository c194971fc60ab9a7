"""Socket-free tests reach the pure rooms, line by line and branch by branch."""

from io import StringIO

import pytest
from tests.measuring import measurement

# Per cent of the lines and branches of core, wire and filters. May only rise.
FLOOR = 99.4


def test_socket_free_tests_reach_nearly_all_of_core_wire_and_filters(
    request: pytest.FixtureRequest,
) -> None:
    coverage = measurement()
    if coverage is None:
        pytest.skip("coverage is not measured: `make test` does")
    if not _all_tests_ran(request.config):
        pytest.skip("only some tests were selected: coverage of a part says nothing")

    report = StringIO()
    coverage.stop()
    try:
        reached = coverage.report(file=report)
    finally:
        coverage.start()

    assert reached >= FLOOR, f"lines and branches that no test reaches:\n{report.getvalue()}"


def _all_tests_ran(config: pytest.Config) -> bool:
    """Return whether the command named no test, no marker and no pattern of its own."""
    chosen = config.getoption("keyword") or config.getoption("markexpr")
    return config.args == config.getini("testpaths") and not chosen
