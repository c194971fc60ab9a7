"""What is found out on the host where the tests run; with rules and tables in interop."""

from pathlib import Path

import pytest
from tests.interop.office import configuration

from sallyport.ops.doctor import host_facts
from sallyport.ops.doctor.host_facts import find_out


def test_any_host_can_be_asked_and_nothing_is_raised(tmp_path: Path) -> None:
    facts = find_out(None, tmp_path / "no.sock")

    assert not facts.is_running
    assert facts.descriptors > 0
    assert facts.ports == {"21/tcp", "69/udp"}


def test_a_configuration_says_which_interfaces_and_ports_matter(tmp_path: Path) -> None:
    file = tmp_path / "sallyport.toml"
    file.write_text(configuration(gateway='port_range = "41000-41999"', protocols=("ftp",)))

    facts = find_out(file, tmp_path / "no.sock")

    assert facts.inside == {"int0"}
    assert facts.outside == {"ext0"}
    assert "21/tcp" in facts.ports
    assert str(facts.port_range) == "41000-41999"


@pytest.mark.parametrize("text", ["nonsense = 1\n", "["])
def test_a_mistake_in_it_is_a_fact_too(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sallyport.toml"
    file.write_text(text)

    assert find_out(file, tmp_path / "no.sock").mistakes


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert find_out(tmp_path / "none.toml", tmp_path / "no.sock").mistakes


@pytest.mark.parametrize(
    ("text", "flushes"),
    [
        ("#!/usr/sbin/nft -f\nflush ruleset\n", True),
        ("  flush ruleset", True),
        ("# flush ruleset\n", False),
        ("flush table inet mine\n", False),
        ("", False),
    ],
)
def test_a_flush_at_the_reload_of_nftables_is_seen(
    text: str, flushes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_facts, "_text", lambda path: text if "nftables" in path else "")

    assert find_out(None, tmp_path / "no.sock").flushes_at_reload is flushes
