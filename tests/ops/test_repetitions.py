from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.ops.repetitions import Repetitions

REFUSED = "connect.refused"


def said(repetitions: Repetitions, client: str, reason: str = "denied-by-rule") -> bool:
    return not repetitions.is_one_more(
        REFUSED, {"client": Endpoint.parse(client), "reason": reason}
    )


def test_a_client_is_in_the_log_a_few_times_a_minute_for_each_reason() -> None:
    repetitions = Repetitions()
    written = [said(repetitions, f"10.0.0.8:{port}") for port in range(1000, 1100)]

    assert written == [True] * limits.REPEATED_RECORDS + [False] * (100 - limits.REPEATED_RECORDS)
    assert said(repetitions, "10.0.0.8:1", "no-rule-matched")
    assert said(repetitions, "10.0.0.9:1")


def test_a_minute_ends_with_the_number_and_the_next_one_begins() -> None:
    repetitions = Repetitions()
    for _ in range(limits.REPEATED_RECORDS + 5):
        said(repetitions, "10.0.0.8:1")
    said(repetitions, "10.0.0.9:1")

    assert [(*key, times) for key, times in repetitions.minute_is_over()] == [
        (REFUSED, "10.0.0.8", "denied-by-rule", 5)
    ]
    assert said(repetitions, "10.0.0.8:1")
    assert list(repetitions.minute_is_over()) == []


def test_clients_that_do_not_exist_do_not_make_it_grow() -> None:
    repetitions = Repetitions()
    written = sum(
        said(repetitions, f"198.18.{number // 250}.{number % 250}:1") for number in range(5000)
    )

    assert written == limits.MAX_REPEATED + limits.REPEATED_RECORDS
    ((key, times),) = repetitions.minute_is_over()
    assert (key.client, times) == ("others", 5000 - written)


def test_what_names_no_client_is_always_written() -> None:
    repetitions = Repetitions()

    assert not any(repetitions.is_one_more("guard.repaired", {"found": "x"}) for _ in range(99))
