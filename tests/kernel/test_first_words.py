"""The table of first words as text, and what is looked up in it; heard: tests/contract."""

import re

from sallyport.addresses import Endpoint
from sallyport.ipfilter import IpFilter
from sallyport.kernel.first_words import render_words, words_table
from sallyport.kernel.installed_pinhole import spoken_keys

CLIENT = Endpoint.parse("10.0.0.8:4000")


def test_the_table_is_owned_and_each_worker_has_its_own() -> None:
    assert render_words({4: 5000}, 3).startswith(
        "table inet sallyport_words3 {\n    flags owner;\n"
    )
    assert words_table(3) == "sallyport_words3"


def test_every_set_that_is_looked_up_is_made_for_the_versions_that_are_heard() -> None:
    for versions in ((4,), (4, 6)):
        text = render_words(dict.fromkeys(versions, 5000))
        made = set(re.findall(r"^    set (\w+) \{$", text, re.MULTILINE))

        names = ("speaks", "spoken", "spokenwide")
        assert made == {f"{name}{version}" for name in names for version in versions}
        assert set(re.findall(r"@(\w+)", text)) == made


def test_without_a_listener_a_datagram_is_not_marked_as_ours() -> None:
    (rule,) = re.findall(r"meta l4proto udp .*", render_words({6: 5000}))

    assert rule.startswith("meta l4proto udp tproxy ip6 to [::1]:5000 meta mark set")


def test_peers_of_the_other_version_are_never_spoken_to() -> None:
    assert spoken_keys(CLIENT, IpFilter.of("2001:db8::9")) == []
    assert spoken_keys(CLIENT, IpFilter()) == []


def test_many_peers_are_one_range_each() -> None:
    (first, second) = spoken_keys(CLIENT, IpFilter.of("198.51.100.0/24", "203.0.113.0/24"))

    assert {first[0], second[0]} == {"spokenwide4"}
    assert isinstance(first[1], tuple)
    assert [end[4:8] for end in first[1]] == [bytes([198, 51, 100, 0]), bytes([198, 51, 100, 255])]
