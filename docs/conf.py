"""How Sphinx makes pages and manual pages of the documents: `make docs`."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = "Sallyport"
author = "the Sallyport maintainers"
release = version = _PROJECT["version"]

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
smartquotes = False  # options begin with two dashes
exclude_patterns = [
    "benchmarks/20*",  # reports as they were measured
    "man/_*",  # a part of a page
]
myst_heading_anchors = 3  # `page.md#a-heading`, as on the web view of the repository
# Documents also point to files of the source, for those who read them there; and the tests know
# some blocks by the name that stands where a language would.
suppress_warnings = ["misc.highlighting_failure", "myst.xref_missing"]

html_theme = "furo"
html_title = f"Sallyport {release}"

man_pages = [
    ("man/sallyport", "sallyport", "application-layer gateway", author, "8"),
    ("man/sallyport.toml", "sallyport.toml", "configuration of sallyport(8)", author, "5"),
    ("man/sallyport-filters", "sallyport-filters", "writing protocol filters", author, "7"),
]
