import json
from pathlib import Path

import pytest

from sallyport.cli import main

CONFIGURATION = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.77.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
[[access_rules]]
name = "office"
action = "allow"
protocols = ["ftp"]
from = ["internal"]
to = ["external"]
[filters.ftp]
ports = [21, 2121]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return str(path)


def test_what_is_allowed_ends_with_0_and_says_what_would_be_open(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", "10.77.0.8", "198.51.100.9:2121", "ftp", "--bind", "5000", "--config", file]

    assert main(line) == 0
    said = capsys.readouterr().out
    assert "intercepted at tcp port 2121" in said
    assert "tcp from 198.51.100.9 at a port of 40000-59999 of the gateway" in said
    assert "max_bindings_per_client: 0 of 64 (rule office)" in said


def test_how_long_it_would_last_is_told(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    limits = 'action = "allow"\nmax_lifetime = 600\nmax_idle = 60'
    Path(file).write_text(CONFIGURATION.replace('action = "allow"', limits), encoding="utf-8")

    line = ["explain", "10.77.0.8", "198.51.100.9", "ftp", "--bind", "5000", "--config", file]
    assert main(line) == 0
    assert "for 600 s, until it is silent for 60 s" in capsys.readouterr().out


def test_what_is_refused_ends_with_5_and_names_the_key(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", "10.77.0.8", "198.51.100.9", "ftp", "--bind", "22", "--config", file]

    assert main([*line, "--json"]) == 5
    answer = json.loads(capsys.readouterr().out)
    assert (answer["allowed"], answer["reason"]) == (False, "client-port-below-minimum")
    assert answer["key"] == "access_rules.client_ports"
    assert answer["steps"][-1]["outcome"] == "refused"
    assert main(line) == 5
    assert "key to change  access_rules.client_ports" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["10.77.0.x", "198.51.100.9", "ftp"], "is not an IP address"),
        (["10.77.0.8", "198.51.100.9:x", "ftp"], "is not ADDRESS:PORT"),
        (["10.77.0.8", "198.51.100.9", "fpt"], "no protocol 'fpt' here; write 'ftp'"),
        (["10.77.0.8", "198.51.100.9", "ftp", "--at", "noon"], "is no moment of a week"),
    ],
)
def test_what_cannot_be_asked_is_told(
    line: list[str], problem: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *line, "--config", file]) != 0
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "remarks"),
    [
        ("", ["tls: the gateway reads no command after AUTH TLS", "PORT cannot be rewritten"]),
        ('passive_range = "50000-50099"', ["passive mode works at ports 50000-50099"]),
        (
            'read_only = true\ndeny = ["SITE"]\nany_peer = true',
            ["read_only: ", "deny: SITE", "tls: AUTH TLS is refused with 534", "any_peer: "],
        ),
    ],
)
def test_what_the_settings_of_a_rule_mean_is_said(
    settings: str, remarks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        CONFIGURATION.replace(
            "[filters.ftp]", f"[access_rules.filters.ftp]\n{settings}\n[filters.ftp]"
        ),
        encoding="utf-8",
    )
    line = ["explain", "10.77.0.8", "198.51.100.9", "ftp", "--config", str(path)]

    assert main(line) == 0
    said = capsys.readouterr().out
    assert all(remark in said for remark in remarks), said
