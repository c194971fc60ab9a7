"""The pins table as text; that it admits whom it should: tests/netns."""

import re

from sallyport.kernel.pins_table import render_pins


def test_the_table_is_owned_and_made_of_whole_lines() -> None:
    text = render_pins(60)

    assert text.startswith("table inet sallyport_pins0 {\n    flags owner;\n")
    # nft 1.0.6 wants every closing brace of a block on a line of its own.
    assert all(
        line.strip() == "}" for line in text.splitlines() if line.endswith("}") and "{" not in line
    )


def test_every_set_that_elements_go_to_is_made_and_looked_up() -> None:
    text = render_pins(60)
    made = set(re.findall(r"^    (?:map|set) (\w+) \{$", text, re.MULTILINE))

    per_version = {
        f"{name}{v}"
        for name in (
            *("narrow", "exact", "any", "wide", "target"),
            *("spoken", "speaks", "spokenwide", "listen"),
        )
        for v in (4, 6)
    }
    assert made == per_version | {"once", "many"}
    assert set(re.findall(r"@(\w+)", text)) == made


def test_a_host_without_a_packet_log_is_asked_for_no_copies() -> None:
    assert "log group" in render_pins(60)
    assert "log group" not in render_pins(60, are_copied=False)
