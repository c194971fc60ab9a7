"""The documents as pages and manual pages: every link and every inclusion is there."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("builder", ["html", "man"])
def test_sphinx_makes_pages_of_the_documents_without_a_warning(
    builder: str, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, str(DOCS)]
    done = subprocess.run([*argv, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
