"""The configured interfaces keep their networks through renames."""

from sallyport.kernel.interface_names import InterfaceNames
from sallyport.wire.rtnetlink import LinkReport


def names(*interfaces: tuple[int, str]) -> InterfaceNames:
    found = InterfaceNames(["int0", "ext0"])
    found.note_all(interfaces)
    return found


def test_an_interface_is_known_by_its_configured_name() -> None:
    assert names((1, "lo"), (2, "int0")).now("int0") == ("int0",)


def test_a_renamed_interface_stays_in_its_network_and_the_old_name_is_kept_free_for_it() -> None:
    found = names((2, "int0"))

    found.note(LinkReport(2, "lan7", is_gone=False))

    assert found.now("int0") == ("int0", "lan7")


def test_an_interface_that_takes_over_a_name_joins_the_one_that_had_it() -> None:
    found = names((2, "int0"))

    found.note(LinkReport(2, "lan7", is_gone=False))
    found.note(LinkReport(3, "int0", is_gone=False))

    assert found.now("int0") == ("int0", "lan7")


def test_two_interfaces_that_swap_names_both_stay_where_they_were() -> None:
    found = names((2, "int0"), (3, "ext0"))

    for number, name in ((2, "tmp"), (3, "int0"), (2, "ext0")):
        found.note(LinkReport(number, name, is_gone=False))

    assert found.now("int0") == ("ext0",)
    assert found.now("ext0") == ("int0",)


def test_an_interface_that_has_gone_leaves_its_name_behind() -> None:
    found = names((2, "int0"))

    found.note(LinkReport(2, "int0", is_gone=True))
    found.note(LinkReport(9, "int0", is_gone=True))

    assert found.now("int0") == ("int0",)


def test_a_list_of_all_interfaces_makes_up_for_reports_that_were_lost() -> None:
    found = names((2, "int0"), (3, "ext0"), (4, "other"))

    found.note_all([(2, "lan7"), (5, "new0")])

    assert found.now("int0") == ("int0", "lan7")
    assert found.now("ext0") == ("ext0",)
    assert found.unmanaged == ("new0",)
