"""What the limits must be to each other and to the documents they follow."""

from sallyport import limits


def test_every_limit_is_a_number_above_zero() -> None:
    found = {name: value for name, value in vars(limits).items() if name.isupper()}
    numbers = {name: value for name, value in found.items() if not isinstance(value, tuple)}

    assert numbers
    assert [name for name, value in numbers.items() if not value > 0] == []


def test_a_worker_is_replaced_at_once_and_then_after_ever_longer_waits() -> None:
    assert limits.WORKER_RESTART_DELAYS[0] == 0
    assert list(limits.WORKER_RESTART_DELAYS) == sorted(set(limits.WORKER_RESTART_DELAYS))


def test_a_port_rests_at_least_as_long_as_linux_keeps_time_wait() -> None:
    assert limits.PORT_REST_SECONDS >= 60


def test_one_call_for_the_most_addresses_is_within_the_default_quota() -> None:
    assert limits.MAX_ADDRESSES_PER_CALL <= limits.MAX_BINDINGS_PER_CLIENT


def test_services_live_below_the_lowest_client_port() -> None:
    assert limits.MIN_CLIENT_PORT == 1024


def test_an_idle_control_connection_outlives_what_the_rfc_demands_of_servers() -> None:
    # RFC 1123 section 4.1.3.2: at least five minutes.
    assert limits.CONTROL_IDLE_SECONDS >= 5 * 60
    assert limits.CONTROL_IDLE_SECONDS > limits.PARTIAL_LINE_SECONDS


def test_held_lines_have_room_for_many_of_the_longest_and_a_thousand_usual_ones() -> None:
    assert limits.MAX_HELD_BYTES >= 16 * limits.MAX_FTP_LINE
    assert 1000 * len(b"RETR a/file/name/of/a/usual/length.txt\r\n") <= limits.MAX_HELD_BYTES


def test_one_client_outside_cannot_use_up_a_published_server() -> None:
    assert limits.MAX_CONTROLS_PER_PEER * 2 <= limits.MAX_CONTROLS_PER_CLIENT


def test_the_increased_receive_buffer_holds_more_than_linux_gives_by_itself() -> None:
    linux_default = 212_992  # net.core.rmem_default
    assert 4 * linux_default <= limits.INCREASED_RECEIVE_BUFFER
