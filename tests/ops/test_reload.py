"""Reload as the operator hears of it; what it does to a gateway: test_assembly.py, tests/netns."""

from pathlib import Path

import pytest

from sallyport.errors import ConfigError, ConfigErrors
from sallyport.ops.assembly import RestartNeeded
from sallyport.ops.config.load import ConfigFile, Configuration, parse
from sallyport.ops.control.schema import Mistake, Reloaded
from sallyport.ops.reload import NoSource, NotReady, Reloader
from sallyport.testing.world import MemoryJournal

FILE = Path("/etc/sallyport.toml")
TEXT = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[[access_rules]]
name = "all"
action = "allow"
protocols = ["ftp"]
from = ["internal"]
to = ["external"]
"""


class Taking:
    """Stands for the gateway's parts: takes every configuration, or refuses it with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken: list[Configuration] = []

    def take(self, configuration: Configuration) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(configuration)


def reloader(taking: Taking, source: ConfigFile | None) -> tuple[Reloader, MemoryJournal]:
    journal = MemoryJournal()
    one = Reloader(source, journal)
    one.open(taking.take)
    return one, journal


def saying(text: str) -> ConfigFile:
    return ConfigFile(FILE, lambda: parse(text, str(FILE)))


def test_what_the_file_says_now_is_in_force_afterwards() -> None:
    taking = Taking()
    one, journal = reloader(taking, saying(TEXT))

    assert one.answer({}) == Reloaded(file=str(FILE), valid=True, errors=[], filters=["ftp"])
    assert [rule.name for rule in taking.taken[0].policy.access_rules] == ["all"]
    assert journal.records == [
        ("gateway.reloaded", {"level": "info", "file": str(FILE), "filters": "ftp"})
    ]


def test_mistakes_are_an_answer_and_change_nothing() -> None:
    taking = Taking()
    one, journal = reloader(taking, saying(TEXT.replace('"ftp"', '"fpt"')))
    problem = "no filter speaks 'fpt'; write one of: ftp, tftp"

    assert one.answer({}) == Reloaded(
        file=str(FILE),
        valid=False,
        errors=[Mistake(file=str(FILE), line=9, problem=problem)],
        filters=[],
    )
    assert taking.taken == []
    assert journal.records == [
        ("gateway.reload_refused", {"level": "error", "problem": f"{FILE}:9: {problem}"})
    ]


def test_each_mistake_is_a_record_for_whoever_reloads_by_signal() -> None:
    def read() -> Configuration:
        raise ConfigErrors([ConfigError("f", 1, "one"), ConfigError("f", 2, "two")])

    one, journal = reloader(Taking(), ConfigFile(FILE, read))

    one.on_signal()

    assert [fields["problem"] for _, fields in journal.records] == ["f:1: one", "f:2: two"]


def test_what_only_a_start_can_do_is_refused() -> None:
    one, journal = reloader(Taking(RestartNeeded("port_range … restart")), saying(TEXT))

    with pytest.raises(RestartNeeded, match="restart"):
        one.answer({})

    assert journal.events() == ["gateway.reload_refused"]


def test_a_gateway_without_a_file_has_none_to_read_again() -> None:
    one, journal = reloader(Taking(), None)

    with pytest.raises(NoSource, match="started without a file"):
        one.answer({})
    one.on_signal()

    assert journal.events() == ["gateway.reload_refused", "gateway.reload_refused"]


def test_a_fault_of_ours_is_written_down_and_ends_nothing() -> None:
    one, journal = reloader(Taking(ZeroDivisionError()), saying(TEXT))

    one.on_signal()

    assert journal.records == [
        ("gateway.reload_refused", {"level": "error", "problem": "ZeroDivisionError()"})
    ]


def test_before_there_is_a_gateway_and_after_nothing_is_taken() -> None:
    taking, journal = Taking(), MemoryJournal()
    one = Reloader(saying(TEXT), journal)

    one.on_signal()
    one.open(taking.take)
    one.close()
    with pytest.raises(NotReady, match="starting or stopping"):
        one.answer({})

    assert taking.taken == []
    assert journal.events() == ["gateway.reload_refused", "gateway.reload_refused"]
