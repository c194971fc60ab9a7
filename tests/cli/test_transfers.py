import json
from collections.abc import Mapping

import pytest

from sallyport.cli import main, transfers
from sallyport.ops.control.schema import Killed, TransferRow, Transfers

ACTIVE = TransferRow(
    id="w1.t5",
    session="w1.s2",
    filter="ftp",
    rule="office",
    transport="tcp",
    direction="inbound",
    client="10.0.0.8:1553",
    peer="203.0.113.9:20",
    data_path="kernel",
    age_seconds=65.0,
    is_adopted=False,
    from_client_bytes=0,
    to_client_bytes=2048,
    bytes_per_second=31,
)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, object]]:
    """Answer in the gateway's place; each request is kept."""
    questions: list[Mapping[str, object]] = []

    def request(_path: object, command: str, *, expect: type, **arguments: object) -> object:
        questions.append({"command": command, **arguments})
        if expect is Transfers:
            return Transfers(transfers=[ACTIVE])
        return Killed(sessions=[], bindings=[], transfers=[str(arguments["id"])])

    monkeypatch.setattr(transfers, "request", request)
    return questions


def test_a_transfer_is_one_row_with_bytes_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfers", "list"]) == 0
    row = capsys.readouterr().out.splitlines()[1]

    assert " ".join(row.split()) == (
        "w1.t5 w1.s2 - ftp 10.0.0.8:1553 < 203.0.113.9:20 kernel 1m 5s 2.0 KiB 31 B/s"
    )


def test_transfers_in_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfers", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert document["version"] == 1
    assert document["transfers"][0]["to_client_bytes"] == 2048


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_one_transfer_is_killed_by_its_id(
    form: list[str], asked: list[Mapping[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transfers", "kill", "w1.t5", *form]) == 0

    assert asked == [{"command": "transfers.kill", "id": "w1.t5"}]
    assert "w1.t5" in capsys.readouterr().out
