"""Conversations through filters that a TOML file declares."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.filters.talk import refusals

from sallyport.errors import OutOfResources
from sallyport.filters.declarative import load_declarative
from sallyport.flags import BindFlags
from sallyport.ops.watchdog import Watchdog
from sallyport.testing import Dialogue, make_policy

CALL = {4: b"CALL 10.0.0.8 5000", 6: b"CALL fd00:a::8 5000"}
HEARD = {4: b"CALL 203.0.113.1 40271", 6: b"CALL fd00:a::8 5000"}
PINHOLE = {
    4: "203.0.113.1:40271 -> 10.0.0.8:5000 from 203.0.113.9",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from 2001:db8::9",
}
PEER, LISTEN = "203.0.113.9:1024", "203.0.113.1:40271"

HEAD = """
name = "talk"
api_version = 1
max_line = 64
{more}
[protocol]
name = "talk"
port = 5005
"""
CALL_RULE = """
[[rules]]
from = "client"
pattern = '(?i)CALL (?P<address>[0-9a-f.:]+) (?P<port>[0-9]+)$'
bind = {{ transport = "tcp"{bind} }}
restore = {restore}
{more}
"""


def talk(rules: str = "", *, more: str = "", version: int = 4, client: str = "") -> Dialogue:
    text = HEAD.format(more=more) + (rules or call_rule())
    return Dialogue(
        load_declarative(text, "talk.toml"),
        policy=make_policy(protocols=frozenset({"talk"})),
        version=version,
        client=client or None,
    )


def call_rule(more: str = "", *, bind: str = "", restore: str = "false") -> str:
    return CALL_RULE.format(more=more, bind=bind, restore=restore)


def other_rule(sender: str, pattern: str, action: str, more: str = "") -> str:
    lines = ("[[rules]]", f'from = "{sender}"', f"pattern = '{pattern}'", f'action = "{action}"')
    return "\n".join((*lines, more, ""))


both_families = pytest.mark.parametrize("version", [4, 6])


# -- bind -----------------------------------------------------------------------------------------


@both_families
def test_a_line_opens_its_port_to_the_server_and_names_the_gateways(version: int) -> None:
    dialogue = talk(version=version).client_says(CALL[version] + b"\r\n")

    dialogue.server_hears(HEARD[version] + b"\r\n").pinholes(PINHOLE[version]).nothing_more()


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_is_read_whole_wherever_segments_cut_it(end: bytes) -> None:
    line = CALL[4] + end
    for cut in range(1, len(line)):
        talk().client_says(line[:cut], line[cut:]).server_hears(HEARD[4] + end).pinholes(PINHOLE[4])


def test_two_lines_in_one_segment_open_two_ports() -> None:
    dialogue = talk().client_says(b"hello\nCALL 10.0.0.8 5000\ncall 10.0.0.8 5001\nbye\n")

    dialogue.server_hears(
        b"hello\nCALL 203.0.113.1 40271\ncall 203.0.113.1 40582\nbye\n"
    ).nothing_more()
    assert len(dialogue.data_path.pinholes) == 2


def test_x01_the_port_is_open_before_the_server_can_hear_of_it() -> None:
    dialogue = talk()
    dialogue.data_path.is_slow = True
    dialogue.client_says(CALL[4] + b"\nnext\n").server_hears(b"")

    dialogue.waiting_ends().server_hears(HEARD[4] + b"\nnext\n").pinholes(PINHOLE[4])


def test_by_default_one_connection_of_the_server_is_let_in_within_a_minute() -> None:
    dialogue = talk().client_says(CALL[4] + b"\n").cannot_connect("198.51.100.7:9", LISTEN)
    dialogue.connects(PEER, LISTEN).cannot_connect(PEER, LISTEN)

    talk().client_says(CALL[4] + b"\n").time_passes(60).pinholes()


def test_anyone_may_connect_where_the_file_says_so() -> None:
    dialogue = talk(call_rule(bind=', peers = "anyone"')).client_says(CALL[4] + b"\n")

    dialogue.pinholes("203.0.113.1:40271 -> 10.0.0.8:5000 from None")


def test_flags_are_the_binds() -> None:
    rule = call_rule(bind=', flags = ["allow-multiple", "no-kernel-mode"]')
    dialogue = talk(rule).client_says(CALL[4] + b"\n").time_passes(3600).pinholes(PINHOLE[4])

    (binding,) = dialogue.connection.session.bindings.values()
    assert binding.flags == BindFlags.ALLOW_MULTIPLE | BindFlags.NO_KERNEL_MODE


def test_what_was_opened_ends_with_the_connection() -> None:
    talk().client_says(CALL[4] + b"\n").client_resets().pinholes()


def test_without_an_address_in_the_line_it_is_the_connections_own() -> None:
    rule = "[[rules]]\nfrom = 'client'\npattern = 'AT (?P<port>[0-9]+)'\n"
    dialogue = talk(rule + "bind = { transport = 'tcp' }").client_says(b"AT 5000, please\n")

    dialogue.server_hears(b"AT 40271, please\n").pinholes(PINHOLE[4])


def test_an_address_may_be_one_decimal_number() -> None:
    dialogue = talk(call_rule('address_format = "decimal"')).client_says(b"CALL 167772168 5000\n")

    dialogue.server_hears(b"CALL 3405803777 40271\n").pinholes(PINHOLE[4])


def test_each_port_of_a_line_gets_one_of_a_run() -> None:
    rule = """
[[rules]]
from = "client"
pattern = 'PORTS (?P<port2>[0-9]+),(?P<port>[0-9]+)(,(?P<port3>[0-9]+))?'
bind = { transport = "udp" }
"""
    dialogue = talk(rule).client_says(b"PORTS 7001,5000\n").server_hears(b"PORTS 40543,40542\n")

    dialogue.pinholes(
        "203.0.113.1:40542 -> 10.0.0.8:5000 from 203.0.113.9",
        "203.0.113.1:40543 -> 10.0.0.8:7001 from 203.0.113.9",
    )


def test_a_line_repeated_while_its_port_waits_names_the_same_port() -> None:
    dialogue = talk().client_says(CALL[4] + b"\n" + CALL[4] + b"\n")
    dialogue.server_hears(HEARD[4] + b"\n" + HEARD[4] + b"\n").pinholes(PINHOLE[4])

    dialogue.connects(PEER, LISTEN).client_says(CALL[4] + b"\n")
    dialogue.server_hears(b"CALL 203.0.113.1 40582\n")


# -- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"RECALL 10.0.0.8 5000\r\n",
        b"CALL 10.0.0.8 5000 \r\n",
        b" CALL 10.0.0.8 5000\r\n",
        b"CALL 10.0.0.8 5000\r\r\n",
        b"NOOP\rCALL 10.0.0.8 5000\n",
        b"CALL 10.0.0.8 5000\0\n",
        b"\xff\xfe\n\n\r\n",
        b"x" * 40 + b"CALL 10.0.0.8 5000\n" + b"x" * 90 + b"\n",
    ],
)
def test_what_no_rule_matches_passes_byte_for_byte_and_opens_nothing(data: bytes) -> None:
    dialogue = talk().client_says(b"begin\n", data, b"end\n")

    dialogue.server_hears(b"begin\n" + data + b"end\n").pinholes().nothing_more()


@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"CALL", b"\r\n", b"\n"]), max_size=9))
def test_any_bytes_of_both_sides_pass_byte_for_byte(segments: list[bytes]) -> None:
    dialogue = talk(call_rule(restore="true")).client_says(*segments).server_says(*segments)
    dialogue.client_closes().server_hears(b"".join(segments))

    dialogue.server_closes().client_hears(b"".join(segments)).pinholes()


def test_the_end_of_an_overlong_line_is_no_line() -> None:
    dialogue = talk().client_says(b"begin\n" + b"x" * 64, b"CALL 10.0.0.8 5000\n", CALL[4] + b"\n")

    dialogue.server_hears(b"begin\n" + b"x" * 64 + b"CALL 10.0.0.8 5000\n" + HEARD[4] + b"\n")


def test_an_overlong_line_ends_the_connection_where_the_file_says_so() -> None:
    dialogue = talk(more='on_long_line = "close"').client_says(b"x" * 63 + b"\n", b"x" * 64)

    dialogue.server_hears(b"x" * 63 + b"\n").was_reset("line-too-long")


def test_what_the_server_says_opens_nothing() -> None:
    dialogue = talk().server_says(CALL[4] + b"\r\n").client_hears(CALL[4] + b"\r\n").pinholes()

    dialogue.nothing_more()


def test_a_prompt_of_the_server_is_not_held_back() -> None:
    talk().server_says(b"login: ").client_hears(b"login: ")


def test_both_sides_begun_lines_and_ends_are_passed_on() -> None:
    dialogue = talk(call_rule(restore="true")).client_says(b"un").server_says(b"fin")
    dialogue.server_hears(b"").client_hears(b"")

    dialogue.client_closes().server_hears(b"un").server_hears_end()
    dialogue.server_closes().client_hears(b"fin").ended("closed")


@pytest.mark.parametrize(
    "first",
    [b"POST /talk HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01", b"SSH-2.0-x\r\n"],
)
def test_h03_who_begins_as_another_protocol_never_binds(first: bytes) -> None:
    dialogue = talk(call_rule(restore="true")).client_says(first, CALL[4] + b"\r\n", b"more")

    dialogue.server_hears(first + CALL[4] + b"\r\nmore").pinholes().still_open()
    dialogue.server_says(b"an").client_hears(b"an")


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"CALL 10.0.0.9 5000", "not-the-clients-address"),
        (b"CALL 10.0.0.8 22", "client-port-below-minimum"),
        (b"CALL 10.0.0.8 65558", "bad-port"),
        (b"CALL 10.0.0.8 0", "bad-port"),
        (b"CALL 0.0.0.0 0", "bad-port"),
        (b"CALL 167772168 5000", "bad-address"),
        (b"CALL fd00:a::8 5000", "not-the-family-of-the-connection"),
    ],
)
def test_a_refused_line_goes_nowhere_and_the_dialogue_goes_on(line: bytes, reason: str) -> None:
    dialogue = talk().client_says(line + b"\r\nnext\r\n")
    assert refusals(dialogue) == [reason]

    dialogue.server_hears(b"next\r\n").pinholes().still_open().nothing_more()


@pytest.mark.parametrize("count", ["", ", count = 2"])
def test_a_match_that_names_no_port_is_refused(count: str) -> None:
    rule = "[[rules]]\nfrom = 'client'\npattern = 'AT (?P<port>[0-9]+)?'\n"
    dialogue = talk(rule + f"bind = {{ transport = 'tcp'{count} }}").client_says(b"AT home\n")

    dialogue.noted("line.refused", "no-port").nothing_more()


def test_a_data_path_without_room_refuses_too() -> None:
    dialogue = talk().next_bind_fails(OutOfResources("sets-are-full")).client_says(CALL[4] + b"\n")

    dialogue.noted("binding.refused", "sets-are-full").nothing_more()


def test_a_refusal_may_be_answered() -> None:
    dialogue = talk(call_rule('reply = "500 No."')).client_says(b"CALL 10.0.0.9 5000\r\n")

    dialogue.client_hears(b"500 No.\r\n").still_open().nothing_more()


def test_an_answer_waits_for_the_end_of_the_line_that_the_server_has_begun() -> None:
    dialogue = talk(call_rule('reply = "500 No."')).server_says(b"200 la")
    dialogue.client_says(b"CALL 10.0.0.9 5000\r\n").client_hears(b"200 la")

    dialogue.server_says(b"te\r\n2").client_hears(b"te\r\n500 No.\r\n2")


def test_a_refusal_may_end_the_connection() -> None:
    rule = call_rule('reply = "500 No."\non_refusal = "close"')
    dialogue = talk(rule).client_says(b"CALL 10.0.0.9 5000\r\nnext\r\n")

    dialogue.client_hears(b"500 No.\r\n").server_hears(b"").ended("not-the-clients-address")


def test_what_follows_a_refusal_that_ends_the_connection_is_not_read() -> None:
    dialogue = talk(call_rule('on_refusal = "close"')).client_says(b"CALL 10.0.0.9 5000\n" * 2)
    assert refusals(dialogue) == ["not-the-clients-address"]

    dialogue = talk(other_rule("server", "EVIL", "refuse", 'on_refusal = "close"'))
    dialogue.server_says(b"EVIL\nEVIL\n").ended("refused-by-rule")
    assert dialogue.world.journal.reasons("line.refused") == ["refused-by-rule"]


@pytest.mark.parametrize(("says", "hears"), [("client", "server"), ("server", "client")])
def test_a_rule_may_refuse_lines_of_either_side(says: str, hears: str) -> None:
    dialogue = talk(other_rule(says, "EVIL", "refuse"))
    say: Callable[[bytes], Dialogue] = getattr(dialogue, f"{says}_says")

    say(b"good\nEVIL\nfine\n").noted("line.refused", "refused-by-rule")
    getattr(dialogue, f"{hears}_hears")(b"good\nfine\n").nothing_more()


def test_the_first_rule_that_matches_decides() -> None:
    refusing = other_rule("client", "CALL", "refuse")

    talk(refusing + call_rule()).client_says(CALL[4] + b"\n").nothing_more().pinholes()
    talk(call_rule() + refusing).client_says(CALL[4] + b"\n").pinholes(PINHOLE[4])


# -- unread ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", ["client", "server"])
def test_from_an_unread_rule_on_both_sides_pass_as_they_come(says: str) -> None:
    rules = call_rule(restore="true") + other_rule(says, "STARTTLS", "unread")
    dialogue = talk(rules).client_says(b"client's ").server_says(b"server's ")
    say: Callable[[bytes], Dialogue] = getattr(dialogue, f"{says}_says")

    say(b"\nSTARTTLS\n" + CALL[4] + b"\nun")

    end = b"\nSTARTTLS\n" + CALL[4] + b"\nun"
    dialogue.server_hears(b"client's " + (end if says == "client" else b""))
    dialogue.client_hears(b"server's " + (end if says == "server" else b""))
    dialogue.client_says(CALL[4] + b"\n", b"x").server_hears(CALL[4] + b"\nx")
    dialogue.server_says(b"\x16").client_hears(b"\x16").pinholes()


# -- restore --------------------------------------------------------------------------------------


def restoring(version: int = 4) -> Dialogue:
    dialogue = talk(call_rule(restore="true"), version=version)
    return dialogue.client_says(CALL[version] + b"\n").server_hears(HEARD[version] + b"\n")


@both_families
def test_an_echo_of_what_the_server_was_told_becomes_what_the_client_said(version: int) -> None:
    dialogue = restoring(version).server_says(b"ok\r\n" + HEARD[version] + b"\r\n")

    dialogue.client_hears(b"ok\r\n" + CALL[version] + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"CALL 203.0.113.1 40272\n",
        b"CALL 203.0.113.1 40271\0\n",
        b"CALL 203.0.113.2 40271\n",
        b"CALL 203.0.113.1 40271 \n",
        b"CALL 203.0.113.1 040271\n",
    ],
)
def test_other_lines_of_the_server_are_not_touched(line: bytes) -> None:
    restoring().server_says(line).client_hears(line).nothing_more()


def test_of_several_bindings_the_one_that_was_told_is_restored() -> None:
    dialogue = restoring().client_says(b"CALL 10.0.0.8 5001\n")
    dialogue.server_hears(b"CALL 203.0.113.1 40582\n")

    dialogue.server_says(b"CALL 203.0.113.1 40271\nCALL 203.0.113.1 40582\n")
    dialogue.client_hears(b"CALL 10.0.0.8 5000\nCALL 10.0.0.8 5001\n")


def test_what_has_ended_is_forgotten_with_the_next_binding() -> None:
    dialogue = restoring().time_passes(60).client_says(b"CALL 10.0.0.8 5001\n")
    dialogue.server_hears(b"CALL 203.0.113.1 40582\n")

    dialogue.server_says(HEARD[4] + b"\n").client_hears(HEARD[4] + b"\n")


def test_without_restore_an_echo_passes_as_it_is() -> None:
    dialogue = talk().client_says(CALL[4] + b"\n").server_says(HEARD[4] + b"\n")

    dialogue.client_hears(HEARD[4] + b"\n")


# -- patterns that take too long ------------------------------------------------------------------


def test_x07_a_pattern_that_takes_for_ever_is_cut_and_ends_its_client_only() -> None:
    rule = other_rule("client", ".*.*.*.*.*=.*!", "refuse")
    text = HEAD.format(more="").replace("max_line = 64", "max_line = 1024") + rule
    made = load_declarative(text, "slow.toml")
    dialogue = Dialogue(made, policy=make_policy(protocols=frozenset({"talk"})))
    other = Dialogue(made, client="10.0.0.9:50000", beside=dialogue)
    watchdog = Watchdog(dialogue.world.filter_running, 0.05)
    watchdog.start()
    try:
        dialogue.client_says(b"=" + b"x" * 1000 + b"\n")
    finally:
        watchdog.stop()

    assert not dialogue.connection.is_open
    other.client_says(b"hello\n").server_hears(b"hello\n").still_open()
