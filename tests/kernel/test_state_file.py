from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.kernel import state_file


def test_a_file_belongs_to_one_network_namespace_and_one_use(tmp_path: Path) -> None:
    one, other = (state_file.of_namespace(suffix, tmp_path) for suffix in ("state", "mappings"))

    assert one.parent == other.parent == tmp_path
    assert one.stem == other.stem
    assert one.stem.startswith("netns-")


def test_it_is_replaced_as_a_whole_and_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a.state"
    state_file.write(file, b"before")
    state_file.write(file, b"after")

    assert state_file.read(file) == b"after"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["a.state"]


def test_where_nothing_can_be_written_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(StartupError, match="RuntimeDirectory=sallyport"):
        state_file.write(tmp_path / "file" / "a.state", b"")
