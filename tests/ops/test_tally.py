import pytest

from sallyport import limits
from sallyport.ops.tally import Tally


def test_records_are_counted_by_event_protocol_and_reason() -> None:
    tally = Tally()
    tally.count("binding.refused", {"protocol": "ftp", "reason": "denied-by-rule"})
    tally.count("binding.refused", {"protocol": "ftp", "reason": "denied-by-rule"})
    tally.count("binding.reserved", {"protocol": "tftp"})
    tally.count("filter.failed", {"filter": "irc", "error": "…"})

    assert tally.events == {
        ("binding.refused", "ftp", "denied-by-rule"): 2,
        ("binding.reserved", "tftp", ""): 1,
        ("filter.failed", "irc", ""): 1,
    }


def test_what_says_nothing_about_clients_is_not_counted() -> None:
    tally = Tally()
    tally.count("gateway.started", {"workers": 1})

    assert not tally.events


def test_bytes_are_summed_by_the_direction_that_the_client_sees() -> None:
    tally = Tally()
    tally.count("binding.closed", {"from_peer_bytes": 10, "to_peer_bytes": 1})
    tally.count("connect.secondary_closed", {"from_client_bytes": 100, "to_client_bytes": 1000})

    assert tally.bytes == {"to_client": 1010, "from_client": 101}


def test_names_without_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TALLIED", 2)
    tally = Tally()
    for number in range(5):
        tally.count("binding.refused", {"protocol": f"p{number}", "reason": "denied-by-rule"})
    tally.count("binding.refused", {"protocol": "p0", "reason": "denied-by-rule"})

    assert tally.events["binding.refused", "other", "other"] == 3
    assert tally.events["binding.refused", "p0", "denied-by-rule"] == 2
