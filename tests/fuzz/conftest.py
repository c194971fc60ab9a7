"""The long form of the fuzz tests takes as long as it is told to."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lift the time limit of one test when `--fuzz` names a time."""
    here = Path(__file__).parent
    for item in items if config.getoption("--fuzz") else ():
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(0))
