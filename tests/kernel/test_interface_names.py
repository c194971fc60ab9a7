"""Interfaces keep their network through renames; that rules follow: tests/netns/test_guard.py."""

from sallyport.kernel.interface_names import InterfaceNames
from sallyport.wire.rtnetlink import LinkReport


def names() -> InterfaceNames:
    made = InterfaceNames(["int0", "ext0"])
    made.note_all([(1, "lo"), (2, "int0"), (3, "ext0")])
    return made


def seen(made: InterfaceNames, number: int, name: str, *, is_gone: bool = False) -> None:
    made.note(LinkReport(number, name, is_gone))


def test_a_renamed_interface_is_known_by_both_names_until_the_old_one_is_taken() -> None:
    made = names()
    seen(made, 2, "lan0")
    assert made.now("int0") == ("int0", "lan0")

    seen(made, 9, "int0")
    assert made.now("int0") == ("int0", "lan0")
    assert made.unmanaged == ("lo",)


def test_two_interfaces_that_swap_their_names_stay_in_their_networks() -> None:
    made = names()
    for number, name in ((2, "spare"), (3, "int0"), (2, "ext0")):
        seen(made, number, name)

    assert (made.now("int0"), made.now("ext0")) == (("ext0",), ("int0",))
    assert (made.numbers("int0"), made.numbers("ext0")) == ((2,), (3,))


def test_the_renames_of_ours_are_told_once_and_in_order() -> None:
    made = names()
    for number, name in ((2, "spare"), (3, "int0"), (2, "ext0"), (1, "loopback")):
        seen(made, number, name)

    assert made.take_renamed() == [("int0", "spare"), ("ext0", "int0"), ("spare", "ext0")]
    assert made.take_renamed() == []


def test_what_appears_late_under_a_configured_name_belongs_to_it() -> None:
    made = InterfaceNames(["ppp0"])
    assert made.now("ppp0") == ("ppp0",)

    seen(made, 5, "ppp0")
    seen(made, 5, "ppp7")
    assert made.now("ppp0") == ("ppp0", "ppp7")


def test_what_has_gone_is_forgotten_also_when_the_list_alone_tells() -> None:
    made = names()
    seen(made, 2, "lan0")
    seen(made, 2, "lan0", is_gone=True)
    assert made.now("int0") == ("int0",)

    seen(made, 3, "wan0")
    made.note_all([(1, "lo")])
    assert made.now("ext0") == ("ext0",)
    assert made.unmanaged == ("lo",)
