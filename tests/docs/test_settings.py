"""Every part of a configuration that a document shows is one that the gateway takes."""

import pytest
from tests.docs.console import NETWORKS, PAGES, ROOT, settings

from sallyport.errors import ConfigErrors
from sallyport.ops.config.load import parse
from sallyport.passwords import SALT_BYTES, PasswordHash

INSIDE = NETWORKS.partition("[networks.external]")[0]
RELATION = NETWORKS[NETWORKS.index("[[network_rules]]") :]
RULE = """\
[[access_rules]]
name = "office"
action = "allow"
protocols = ["ftp", "tftp", "irc"]
from = ["internal"]
to = ["external"]
"""
# What a document writes of a password: a whole one is long, and takes a twentieth of a second.
SHORTENED = "scrypt$16384$8$1$…"

# What a part may stand behind: nothing, networks, or an access rule, whose settings it has.
BEFORE = {"nothing": "", "networks": NETWORKS, "a rule": NETWORKS + RULE}

# The files of declared filters are no configurations: tests/filters/test_declaration.py.
SHOWN = [
    (page, number, text)
    for page in PAGES
    if page != "docs/reference/declarative_filters.md"
    for number, text in enumerate(settings(page), start=1)
]


def mistakes(text: str) -> str:
    """Return what is wrong with a configuration; files of filters are those of the examples."""
    try:
        parse(text, str(ROOT / "examples/irc_dcc/sallyport.toml"))
    except ConfigErrors as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("page", "number", "text"), SHOWN, ids=[f"{page} {number}" for page, number, _ in SHOWN]
)
def test_a_part_of_a_configuration_is_taken_where_it_belongs(
    page: str, number: int, text: str
) -> None:
    if SHORTENED in text:
        text = text.replace(SHORTENED, str(PasswordHash.of(b"secret", bytes(SALT_BYTES))))
    tried = {where: mistakes(before + text) for where, before in BEFORE.items()}
    # The pair's outside network has an address of its own.
    tried["the networks"] = mistakes(INSIDE + text + RELATION)

    assert "" in tried.values(), (page, number, tried)


def test_documents_show_configurations() -> None:
    assert len(SHOWN) > 15
