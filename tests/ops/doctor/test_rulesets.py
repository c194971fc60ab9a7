"""What `nft --json` prints, read as far as a foreign firewall may drop what is ours."""

import json
from typing import Any

import pytest

from sallyport.ops.doctor.rulesets import HostRules, table_names

MARK = {"ct": {"key": "mark"}}
PIN = 0x80000000


def chain(name: str, hook: str = "", policy: str = "") -> dict[str, Any]:
    base = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": {"family": "inet", "table": "t", "name": name, **base}}


def rule(name: str, *expr: object) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "t", "chain": name, "expr": list(expr)}}


def parsed(*items: dict[str, Any]) -> HostRules:
    return HostRules.parse(json.dumps({"nftables": [{"metainfo": {}}, *items]}))


def match(left: object, op: str, right: object) -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


TCP = match({"meta": {"key": "l4proto"}}, "==", "tcp")
OURS = match({"&": [MARK, PIN]}, "!=", 0)


@pytest.mark.parametrize(
    ("policy", "rules", "is_closed"),
    [
        ("drop", [], True),
        ("accept", [], False),
        ("accept", [rule("f", {"counter": None}, {"reject": None})], True),
        ("accept", [rule("f", {"drop": None}), rule("f", {"accept": None})], False),
        ("accept", [rule("f", TCP, {"drop": None})], False),
        ("accept", [rule("f", {"xt": None}, {"drop": None})], False),
    ],
)
def test_a_chain_is_closed_when_what_no_rule_accepts_is_dropped(
    policy: str, rules: list[dict[str, Any]], is_closed: bool
) -> None:
    found = parsed(chain("f", "forward", policy), chain("other"), *rules)

    assert [one.name.chain for one in found.closed("forward")] == ["f"] * is_closed
    assert not list(found.closed("input"))


@pytest.mark.parametrize(
    "statement",
    [
        OURS,
        match({"&": [MARK, PIN]}, "==", PIN),
        match(MARK, "!=", {"prefix": {"addr": 0, "len": 1}}),
        match(MARK, "==", {"prefix": {"addr": PIN, "len": 1}}),
    ],
)
@pytest.mark.parametrize("verb", ["jump", "goto"])
def test_a_rule_for_our_mark_counts_in_every_way_to_write_it_and_behind_jumps(
    statement: dict[str, Any], verb: str
) -> None:
    found = parsed(
        chain("f", "forward", "drop"),
        chain("sub"),
        rule("f", {verb: {"target": "sub"}}),
        rule("sub", {verb: {"target": "f"}}),
        rule("sub", statement, {"accept": None}),
    )
    (closed,) = found.closed("forward")

    assert found.admits_our_mark(closed)


def test_a_rule_behind_a_verdict_map_counts() -> None:
    verdicts = {
        "key": {"meta": {"key": "iifname"}},
        "data": {"set": [["a", {"jump": {"target": "sub"}}]]},
    }
    found = parsed(
        chain("f", "forward", "drop"),
        chain("sub"),
        rule("f", {"vmap": verdicts}),
        rule("sub", OURS, {"accept": None}),
    )
    (closed,) = found.closed("forward")

    assert found.admits_our_mark(closed)


@pytest.mark.parametrize(
    "statements",
    [
        [OURS, {"drop": None}],
        [OURS],
        [match({"&": [MARK, 1]}, "!=", 0), {"accept": None}],
        [match({"&": [MARK, PIN]}, "==", 0), {"accept": None}],
        [TCP, {"accept": None}],
        [],
    ],
)
def test_other_rules_do_not_count(statements: list[dict[str, Any]]) -> None:
    found = parsed(chain("f", "forward", "drop"), rule("f", *statements))
    (closed,) = found.closed("forward")

    assert not found.admits_our_mark(closed)


def test_helpers_are_found_by_their_type() -> None:
    found = parsed({"ct helper": {"family": "ip", "table": "t", "name": "x", "type": "ftp"}})

    assert found.helpers == ("ftp",)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"nftables": [{"chain": {}}]}', '{"nftables": 1}']
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        HostRules.parse(text)


def test_tables_are_named_by_family_and_name_and_no_answer_names_none() -> None:
    assert table_names("table ip t\ntable inet router\n") == [("ip", "t"), ("inet", "router")]
    assert table_names("") == table_names("Error: no\ntable\n") == []
