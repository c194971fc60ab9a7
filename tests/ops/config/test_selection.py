"""Which filters run, told by whole configurations: sections and rules decide together."""

import re
import sys
from pathlib import Path

import pytest
from tests.ops.config.offered import SCANNER, TALK, catalogue, offer, write
from tests.shipped import FILTERS, KNOWN, UNNAMED

from sallyport.api import Direction
from sallyport.errors import ConfigErrors
from sallyport.ops.config.catalogue import Catalogue
from sallyport.ops.config.load import Configuration, defaults, parse

NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
"""
RULE = """\
[[access_rules]]
name = "{name}"
action = "{action}"
protocols = ["{protocol}"]
from = ["internal"]
to = ["external"]
"""


def rule(protocol: str, action: str = "allow") -> str:
    return RULE.format(name=f"{action} {protocol}", action=action, protocol=protocol)


def read(text: str, offered: Catalogue | None = None, folder: Path = Path()) -> Configuration:
    return parse(NETWORKS + text, str(folder / "f"), offered)


def running(configuration: Configuration) -> list[str]:
    return [one.kind.name for one in configuration.filters if one.running is not None]


def complaints(text: str, offered: Catalogue | None = None, folder: Path = Path()) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(text, offered, folder)
    return [f"{error.line}: {error.problem}" for error in caught.value.errors]


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    offer(tmp_path, TALK, "talk = Talk")
    return catalogue(tmp_path, monkeypatch)


# -- what runs ----------------------------------------------------------------------------------


def test_a_filter_runs_where_a_rule_allows_one_of_its_protocols() -> None:
    assert running(read(rule("tftp"))) == ["tftp"]
    assert running(read(rule("tftp", "deny"))) == []
    assert running(read("[filters.ftp]\n")) == []


def supervised(text: str, offered: Catalogue | None = None) -> tuple[list[str], list[str]]:
    configuration = read(text, offered)
    return list(configuration.supervised_names), list(configuration.unsupervised)


def test_what_a_rule_names_is_supervised_whatever_the_rule_says(talk: Catalogue) -> None:
    for action in ("allow", "deny"):
        assert supervised(rule("talk", action), talk) == (["ftp", "talk", "tftp"], UNNAMED)
    switched_off = rule("talk", "deny") + "[filters.talk]\nenabled = false\n"
    assert supervised(switched_off, talk) == (["ftp", "talk", "tftp"], UNNAMED)


def test_what_is_on_by_default_is_supervised_without_a_rule_until_it_is_switched_off() -> None:
    assert supervised("") == (["ftp", "tftp"], UNNAMED)
    assert supervised("[filters.ftp]\nenabled = false\n") == (["tftp"], ["ftp", *UNNAMED])
    named = rule("ftp", "deny") + "[filters.ftp]\nenabled = false\n"
    assert supervised(named) == (["ftp", "tftp"], UNNAMED)


def test_a_protocol_with_a_filter_that_no_rule_names_is_ordinary_traffic(talk: Catalogue) -> None:
    assert supervised("[filters.talk]\n", talk) == (["ftp", "tftp"], sorted([*UNNAMED, "talk"]))


def test_what_a_rule_names_takes_its_port_from_what_is_supervised_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK.replace("5005", "21"), "talk = Talk")
    offered = catalogue(tmp_path, monkeypatch)

    assert supervised(rule("talk", "deny"), offered) == (["talk", "tftp"], ["ftp", *UNNAMED])


def test_a_packages_filter_is_found_by_the_protocol_that_a_rule_names(talk: Catalogue) -> None:
    configuration = read(rule("talk"), talk)

    assert running(configuration) == ["talk"]
    assert configuration.policy.filter_settings["talk"] == {"volume": "low", "names": ()}


def test_a_package_that_no_rule_and_no_section_needs_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = offer(tmp_path, TALK, "talk = Talk")

    assert running(read(rule("ftp"), catalogue(tmp_path, monkeypatch))) == ["ftp"]
    assert module not in sys.modules


def test_a_broken_package_that_nothing_needs_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, "1 / 0", "talk = Talk")
    offered = catalogue(tmp_path, monkeypatch)

    assert running(read(rule("ftp"), offered)) == ["ftp"]
    assert complaints("[filters.talk]\n", offered) == [
        "6: filter 'talk' (package acme 1.2) fails: ZeroDivisionError: division by zero"
    ]
    assert complaints(rule("talk"), offered) == [
        "9: no filter speaks 'talk'; write one of: " + KNOWN + ";"
        " filter 'talk' (package acme 1.2) fails: ZeroDivisionError: division by zero"
    ]


def test_a_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    write(tmp_path / "talk.py", TALK)
    section = '[filters.talk]\npath = "talk.py"\nvolume = "high"\n'

    configuration = read(rule("talk") + section, folder=tmp_path)

    assert running(configuration) == ["talk"]
    assert configuration.policy.filter_settings["talk"] == {"volume": "high", "names": ()}


def test_a_scanner_runs_where_it_has_a_section(tmp_path: Path) -> None:
    write(tmp_path / "scanner.py", SCANNER)
    section = '[filters.scanner]\npath = "scanner.py"\n'

    assert running(read(section, folder=tmp_path)) == ["scanner"]
    assert running(read(section + "enabled = false\n", folder=tmp_path)) == []


def test_without_a_file_those_on_by_default_run() -> None:
    assert [(one.kind.name, one.running is None) for one in defaults(Catalogue.installed())] == [
        (name, name not in ("ftp", "tftp")) for name in FILTERS
    ]


def test_a_filter_is_built_with_a_value_of_its_settings(talk: Catalogue) -> None:
    section = '[filters.talk]\nvolume = "high"\nnames = ["a", "b"]\n'

    (choice,) = [
        one for one in read(rule("talk") + section, talk).filters if one.kind.name == "talk"
    ]

    keys = vars(choice.running)["keys"]
    assert (keys.volume, keys.names) == ("high", ("a", "b"))
    assert choice.settings == {"volume": "high", "names": ("a", "b")}


# -- what cannot be meant -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[filters.talk]\nvolum = "low"\n',
            "7: unknown key 'volum' in filters.talk; write 'volume'",
        ),
        (
            '[filters.talk]\nvolume = "loud"\n',
            '7: volume cannot be "loud"; write "low" or "high"',
        ),
        (
            "[filters.talk]\nnames = 3\n",
            "7: names cannot be 3; write a list, each text in quotes",
        ),
        (
            '[filters.talk]\nnames = ["a",\n3]\n',
            "8: names cannot be 3; write a list, each text in quotes",
        ),
        (
            "[filters.talk]\nenabled = 1\n",
            "7: enabled cannot be 1; write true or false",
        ),
        (
            '[filters.talk]\npath = ""\n',
            '7: path cannot be ""; write the path of a filter file, in quotes',
        ),
        (
            "[filters]\ntalk = 3\n",
            "7: filters.talk is 3, not a table; write keys below [filters.talk]",
        ),
        (
            "[filters.ftp]\ntrust_pasv_address = 'all'\n",
            '7: trust_pasv_address cannot be "all"; write "server" or "replace"',
        ),
        (
            "[filters.tolk]\n",
            "6: unknown filter 'tolk'; write 'talk', or give it a path",
        ),
        (
            '[filters.talk]\npath = "talk.py"\n',
            "7: there is a filter 'talk' already (package acme 1.2); give this one another",
        ),
        (
            "[filters.tftp]\nvolume = 1\n",
            "7: unknown key 'volume' in filters.tftp; write one of: read_only, path, enabled,"
            " ports",
        ),
        (
            "[filters.talk]\nenable = false\n",
            "7: unknown key 'enable' in filters.talk; write 'enabled'",
        ),
    ],
)
def test_a_mistake_in_a_section_is_told_with_its_line(
    text: str, problem: str, talk: Catalogue
) -> None:
    assert complaints(text, talk) == [problem]


def test_a_filter_that_is_switched_off_cannot_be_allowed_by_a_rule(talk: Catalogue) -> None:
    assert complaints(rule("ftp") + "[filters.ftp]\nenabled = false\n", talk) == [
        "9: filter 'ftp' speaks 'ftp', and [filters.ftp] has enabled = false; take the protocol"
        " out, or remove that key"
    ]
    assert running(read(rule("ftp", "deny") + "[filters.ftp]\nenabled = false\n", talk)) == []


def test_a_file_that_is_switched_off_is_named_where_a_protocol_is_missing() -> None:
    section = '[filters.talk]\npath = "talk.py"\nenabled = false\n'

    assert complaints(rule("talk") + section) == [
        "9: no filter speaks 'talk'; write one of: " + KNOWN + ";"
        " [filters.talk] has enabled = false"
    ]


def test_what_is_switched_off_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, "1 / 0", "talk = Talk")

    configuration = read("[filters.talk]\nenabled = false\n", catalogue(tmp_path, monkeypatch))

    assert running(configuration) == []


def test_two_filters_cannot_mean_different_things_by_one_name(tmp_path: Path) -> None:
    write(tmp_path / "ours.py", TALK.replace('"talk"', '"ftp"', 2).replace('"ftp"', '"ours"', 1))
    section = '[filters.ours]\npath = "ours.py"\n'

    assert complaints(section, folder=tmp_path) == [
        f"7: filters 'ours' (path {tmp_path / 'ours.py'}) and 'ftp' (builtin) define 'ftp'"
        " differently; write enabled = false for one of them"
    ]
    instead = rule("ftp") + section + "[filters.ftp]\nenabled = false\n"
    assert running(read(instead, folder=tmp_path)) == ["ours"]


def test_filters_that_share_a_definition_run_beside_each_other(tmp_path: Path) -> None:
    shared = TALK.replace('(ProtocolDefinition("talk", Transport.TCP, 5005),)', "(FTP,)")
    write(tmp_path / "talk.py", "from sallyport.filters.ftp import FTP\n" + shared)
    section = '[filters.talk]\npath = "talk.py"\n'

    assert running(read(rule("ftp") + section, folder=tmp_path)) == ["ftp", "talk"]
    assert running(read(rule("tftp") + section, folder=tmp_path)) == ["tftp"]
    assert complaints(rule("h323") + section, folder=tmp_path) == [
        "9: no filter speaks 'h323'; write one of: " + KNOWN
    ]


def test_a_protocol_that_two_packages_speak_is_nobodys_until_one_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK, "talk = Talk")
    other = TALK.replace('name = "talk"', 'name = "chat"')
    offer(tmp_path, other, "chat = Talk", package="chatter 2.0")
    offered = catalogue(tmp_path, monkeypatch)

    assert complaints(rule("talk"), offered) == [
        "9: filters 'chat' (package chatter 2.0) and 'talk' (package acme 1.2) speak 'talk';"
        " write a section for the one that is meant"
    ]
    chosen = rule("talk") + "[filters.chat]\n"
    assert running(read(chosen, offered)) == ["chat"]
    other = rule("talk") + "[filters.chat]\nenabled = false\n"
    assert running(read(other, offered)) == ["talk"]


def test_what_clients_dial_must_say_which_protocol_they_speak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK.replace("5005", "21"), "talk = Talk")
    offered = catalogue(tmp_path, monkeypatch)

    assert complaints(rule("talk") + rule("ftp"), offered) == [
        "1: 'ftp' and 'talk' are both spoken at port 21; name one of them in rules"
    ]
    assert running(read(rule("talk"), offered)) == ["talk"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('raise ValueError("too loud")', "ValueError: too loud (line 26)"),
        ('raise KeyError("volume")', "KeyError: 'volume' (line 26)"),
    ],
)
def test_a_filter_that_cannot_be_built_is_a_mistake_of_its_section(
    broken: str, reason: str, tmp_path: Path
) -> None:
    write(tmp_path / "talk.py", TALK.replace("self.keys = keys", broken))
    text = rule("talk") + '[filters.talk]\npath = "talk.py"\n'

    assert complaints(text, folder=tmp_path) == [
        f"12: filter 'talk' (path {tmp_path / 'talk.py'}) fails: {reason}"
    ]


def test_settings_may_refuse_what_their_keys_mean_together(tmp_path: Path) -> None:
    refusing = TALK.replace(
        "    names: tuple[str, ...] = ()",
        "    names: tuple[str, ...] = ()\n\n    def __post_init__(self):\n"
        '        raise ValueError("nobody is left; write a name")',
    )
    write(tmp_path / "talk.py", refusing)

    assert complaints('[filters.talk]\npath = "talk.py"\n', folder=tmp_path) == [
        "6: filters.talk: nobody is left; write a name"
    ]


def test_a_key_without_a_default_has_to_be_given(tmp_path: Path) -> None:
    write(tmp_path / "talk.py", TALK.replace(' = "low"', ""))

    assert complaints('[filters.talk]\npath = "talk.py"\n', folder=tmp_path) == [
        '6: filters.talk has no key \'volume\'; give it "low" or "high"'
    ]


def test_a_published_protocol_is_not_one_that_clients_inside_may_be_allowed() -> None:
    assert complaints(rule("ftp-server")) == [
        "9: no filter speaks 'ftp-server'; write one of: " + KNOWN
    ]
    assert Direction.INBOUND in {
        protocol.direction
        for choice in defaults(Catalogue.installed())
        for protocol in choice.kind.protocols
    }


def test_the_readmes_filter_can_be_run_beside_it(tmp_path: Path) -> None:
    repository = Path(__file__).parents[3]
    readme = repository.joinpath("README.md").read_text(encoding="utf-8")
    example, of_a_rule, mappings, section = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    example = example.replace("[[publishing_rules]]", f"{of_a_rule}[[publishing_rules]]", 1)
    write(tmp_path / "irc_dcc.py", repository.joinpath("examples/irc_dcc/irc_dcc.py").read_text())

    configuration = parse(example + mappings + section, str(tmp_path / "f"))

    assert [one.kind.name for one in configuration.filters] == [*FILTERS, "irc-dcc"]
    assert configuration.policy.filter_settings["irc-dcc"] == {"any_peer": True}
    assert configuration.policy.access_rules[0].filters["tftp"] == {"read_only": True}
