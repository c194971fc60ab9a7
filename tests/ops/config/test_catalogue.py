import os
import sys
from pathlib import Path

import pytest
from tests.ops.config.offered import SCANNER, TALK, catalogue, offer, write
from tests.shipped import FILTERS

from sallyport.errors import ConfigErrors
from sallyport.ops.config.catalogue import Catalogue, FilterKind, FilterUnusable, read_file

# Without privileges the suite runs where there is one user only (user_namespaces(7)).
IDENTITIES = range(int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]))


def written(folder: Path, text: str, name: str = "talk.py") -> Path:
    return write(folder / name, text)


def complaint(path: Path, name: str = "talk") -> str:
    with pytest.raises(FilterUnusable) as caught:
        read_file(path, name)
    return str(caught.value).replace(f" ({path})", "").replace(str(path), "FILE")


# -- packages -----------------------------------------------------------------------------------


def test_our_own_filters_are_offered_like_any_other_and_come_first() -> None:
    found = Catalogue.installed()

    assert found.builtin == FILTERS
    assert found.names[:2] == ("ftp", "tftp")
    assert str(found.find("ftp").origin) == "builtin"


def test_a_package_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK, "talk = Talk")

    kind = catalogue(tmp_path, monkeypatch).find("talk")

    assert str(kind.origin) == "package acme 1.2"
    assert kind.summary == "Lets people talk."
    assert [one.name for one in kind.protocols] == ["talk"]
    assert kind.is_bound


def test_a_package_that_nobody_asks_for_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = offer(tmp_path, TALK, "talk = Talk")
    found = catalogue(tmp_path, monkeypatch)

    found.find("ftp")

    assert found.names[:2] == ("ftp", "tftp")
    assert "talk" in found.names
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import nowhere_at_all", "fails: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(3)", "fails: SystemExit: 3"),
        ("1 / 0", "fails: ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_package_is_named_with_its_reason(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, text, "talk = Talk")

    with pytest.raises(FilterUnusable) as caught:
        catalogue(tmp_path, monkeypatch).find("talk")

    assert str(caught.value) == f"filter 'talk' (package acme 1.2) {problem}"


def test_two_packages_that_offer_one_name_are_both_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK, "talk = Talk")
    offer(tmp_path, TALK, "talk = Talk", package="bettertalk 3.0")

    with pytest.raises(FilterUnusable) as caught:
        catalogue(tmp_path, monkeypatch).find("talk")

    assert str(caught.value) == (
        "package acme 1.2 and package bettertalk 3.0 both offer a filter 'talk'; uninstall one of"
        " them"
    )


def test_a_package_offers_a_class_and_no_filter_that_reloads_would_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK + "\nREADY = Talk(None)\n", "talk = READY")

    with pytest.raises(FilterUnusable, match="is no subclass of ApplicationFilter"):
        catalogue(tmp_path, monkeypatch).find("talk")


def test_a_name_nobody_offers_is_told() -> None:
    with pytest.raises(FilterUnusable, match="no package offers a filter 'sip'"):
        Catalogue([]).find("sip")


# -- what a filter must be ----------------------------------------------------------------------


def test_a_file_with_one_filter_needs_to_say_nothing_more(tmp_path: Path) -> None:
    kind = read_file(written(tmp_path, TALK), "talk")

    assert str(kind.origin) == f"path {tmp_path / 'talk.py'}"
    assert kind.api_version == 1
    assert kind.settings is not None


def test_a_file_with_two_filters_says_which(tmp_path: Path) -> None:
    two = TALK + "\n\nclass Other(Talk):\n    pass\n"

    assert complaint(written(tmp_path, two)) == (
        "filter 'talk' defines 2 subclasses of ApplicationFilter; define one, or say which by"
        " FILTER = …"
    )
    assert read_file(written(tmp_path, two + "\n\nFILTER = Talk\n"), "talk").name == "talk"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "api_version = 1",
            "api_version = 2",
            "filter 'talk' declares API version 2, and this gateway speaks 1; get a release for"
            " that",
        ),
        (
            "    api_version = 1\n",
            "",
            "filter 'talk' declares no API version; write api_version = 1",
        ),
        (
            'name = "talk"',
            'name = "walk"',
            "filter 'talk' calls itself 'walk'; both names must be one, of at most 32 letters,"
            " digits, - or _",
        ),
        (
            "(ApplicationFilter)",
            "",
            "filter 'talk' defines 0 subclasses of ApplicationFilter; define one, or say which by"
            " FILTER = …",
        ),
        (
            "protocols = (ProtocolDefinition",
            "protocols = [ProtocolDefinition",
            "filter 'talk' fails: SyntaxError: closing parenthesis ')' does not match opening"
            " parenthesis '[' (talk.py, line 22)",
        ),
        ("5005),)", "5005))", "filter 'talk': its protocols are no tuple of ProtocolDefinition"),
        (
            "5005),)",
            "5005),) * 2",
            "filter 'talk' defines a protocol twice: talk, talk",
        ),
        (
            "settings = Keys",
            "hooks = 3",
            "filter 'talk': its hooks are no Hooks",
        ),
        (
            "frozen=True",
            "frozen=False",
            "filter 'talk': its settings are no frozen dataclass",
        ),
        (
            "volume",
            "enabled",
            "filter 'talk': its key 'enabled' is the gateway's; rename it",
        ),
    ],
)
def test_a_filter_that_is_not_what_it_should_be_is_refused(
    old: str, new: str, problem: str, tmp_path: Path
) -> None:
    assert complaint(written(tmp_path, TALK.replace(old, new))) == problem


def test_settings_that_no_table_can_hold_are_refused(tmp_path: Path) -> None:
    text = TALK.replace("tuple[str, ...] = ()", "list[int] | set[int] = ()")

    assert complaint(written(tmp_path, text)).startswith("filter 'talk' fails: TypeError: ")
    text = "from pathlib import Path\n" + TALK.replace("tuple[str, ...] = ()", "Path = Path()")

    assert complaint(written(tmp_path, text)) == (
        "filter 'talk': its key 'names' is of a type that no table has; let it be a str, and read"
        " that in the filter"
    )


def test_a_filter_that_looks_at_everybodys_connections_is_not_bound(tmp_path: Path) -> None:
    kind = read_file(written(tmp_path, SCANNER, "scanner.py"), "scanner")

    assert not kind.is_bound
    assert kind.protocols == ()


# -- files --------------------------------------------------------------------------------------


def test_a_file_is_imported_afresh_and_what_it_was_before_stays_as_it_was(tmp_path: Path) -> None:
    def keys_of(kind: FilterKind) -> set[str]:
        return set(vars(kind.settings)["__dataclass_fields__"])

    before = read_file(written(tmp_path, TALK), "talk")
    after = read_file(written(tmp_path, TALK.replace("volume", "number")), "talk")

    assert keys_of(before) == {"volume", "names"}
    assert keys_of(after) == {"number", "names"}
    assert list(tmp_path.iterdir()) == [tmp_path / "talk.py"]


def test_a_file_that_fails_leaves_no_module_behind(tmp_path: Path) -> None:
    before = set(sys.modules)

    assert complaint(written(tmp_path, "1 / 0")).startswith("filter 'talk' fails: ZeroDivision")
    assert set(sys.modules) == before


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = written(tmp_path, TALK)
    path.chmod(mode)

    assert complaint(path) == "FILE is writable by others than its owner; chmod go-w FILE"


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_file_in_a_folder_that_others_can_write_is_refused(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)

    assert complaint(written(folder, TALK)) == (
        f"{folder} is writable by others than its owner; chmod go-w {folder}"
    )


def test_a_link_out_of_a_safe_folder_makes_nothing_safe(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    written(folder, TALK)
    folder.chmod(0o777)
    link = tmp_path / "talk.py"
    link.symlink_to(folder / "talk.py")

    assert f"chmod go-w {folder}" in complaint(link)


def test_a_link_that_others_can_replace_leads_anywhere(tmp_path: Path) -> None:
    written(tmp_path, TALK)
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    link = folder / "talk.py"
    link.symlink_to(tmp_path / "talk.py")

    assert f"chmod go-w {folder}" in complaint(link)


@pytest.mark.skipif(
    os.geteuid() != 0 or len(IDENTITIES) < 2,
    reason="only root may give files away, where there is somebody else",
)
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TALK)
    os.chown(path, 12345, -1)

    assert complaint(path) == "FILE belongs to user 12345; chown root FILE"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "FILE cannot be read: No such file or directory"),
        (b"\xff", "FILE is not UTF-8; save the file as UTF-8"),
        (b"#" * (1024 * 1024 + 1), "FILE is longer than 1048576 bytes"),
    ],
)
def test_what_is_no_text_of_a_filter_is_told(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "talk.py"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o644)

    assert complaint(path) == problem


# -- declarations -------------------------------------------------------------------------------

DECLARED = """\
name = "talk"
api_version = 1

[protocol]
name = "talk"
port = 5005

[[rules]]
from = "client"
pattern = '(?i)^CALL ME AT (?P<address>[0-9.]+) (?P<port>[0-9]+)$'
bind = { transport = "tcp" }
"""


def test_a_declared_filter_is_one_like_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, DECLARED, "talk.toml")

    kind = read_file(path, "talk")

    assert (kind.name, kind.api_version, kind.settings) == ("talk", 1, None)
    assert str(kind.origin) == f"path {path}"
    assert [one.name for one in kind.protocols] == ["talk"]
    assert kind.build(None).name == "talk"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("[protocol]", "[protocol", 4),
        ("bind = ", "bint = ", 11),
        ('from = "client"', 'from = "nobody"', 9),
        ("(?i)^CALL", "(?i^CALL", 10),
    ],
)
def test_a_mistake_in_a_declaration_is_told_with_its_own_file_and_line(
    old: str, new: str, line: int, tmp_path: Path
) -> None:
    path = written(tmp_path, DECLARED.replace(old, new), "talk.toml")

    with pytest.raises(ConfigErrors) as caught:
        read_file(path, "talk")

    assert [(error.file, error.line) for error in caught.value.errors] == [(str(path), line)]
