"""What `doctor` says of a firewall is true, and what it says to type is enough."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.interop import firewalls
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

PAGE = (Path(__file__).parents[2] / "docs/how-to/beside_other_firewalls.md").read_text("utf-8")

Type = Callable[[str], object]
"""Type one line of a remedy, as an operator would."""


@contextmanager
def own_rules(lab: Lab) -> Iterator[Type]:
    with firewalls.rules_of_nft(lab):
        yield lambda line: lab.gateway.run(["sh", "-c", line])


@contextmanager
def docker(lab: Lab) -> Iterator[Type]:
    with firewalls.rules_of_iptables(lab, firewalls.DOCKER):
        yield lambda line: lab.gateway.run(["sh", "-c", line.replace("tables ", "tables-nft ")])


@contextmanager
def ufw(lab: Lab) -> Iterator[Type]:
    with firewalls.ufw(lab) as running:
        yield running.sh


@contextmanager
def firewalld(lab: Lab) -> Iterator[Type]:
    with firewalls.firewalld(lab) as running:
        yield running.sh


def drops_of(lab: Lab, file: Path) -> list[str]:
    """Return the lines that `doctor` says to type about other firewalls."""
    argv = [*sallyport(), "doctor", "--json", "--config", str(file)]
    done = lab.gateway.run(argv, check=False)
    found = [one for one in json.loads(done.stdout)["findings"] if "firewall" in one["code"]]
    assert done.returncode == (6 if found else 0), done.stdout
    return [line for one in found for line in one["remedy"]]


def fetches(lab: Lab, server_of: GiveServer) -> bool:
    """Fetch a file in active mode: its control and its data connection meet the firewall."""
    server = server_of("vsftpd")
    (server.folder / "file").write_bytes(bytes(1000))
    url = f"ftp://{server.account().address}/file"
    # What is dropped would be waited for; what passes takes milliseconds.
    argv = ["curl", "--silent", "--max-time", "4", "--disable-eprt", "--ftp-port", "-", url]
    return len(lab.client.run(argv, check=False).stdout) == 1000


@pytest.mark.parametrize("firewall", [own_rules, docker, ufw, firewalld])
def test_what_doctor_says_of_a_firewall_is_true_and_its_remedy_is_enough(
    firewall: Callable[[Lab], AbstractContextManager[Type]],
    lab: Lab,
    server_of: GiveServer,
    tmp_path: Path,
) -> None:
    file = tmp_path / "sallyport.toml"
    file.write_text(configuration())
    assert drops_of(lab, file) == []

    with ExitStack() as ends:
        enter = ends.enter_context(firewall(lab))
        gateway = RunningGateway(lab, ("--config", str(file)), name=firewall.__name__)
        ends.callback(gateway.stop)
        remedy = drops_of(lab, file)
        worked_before = fetches(lab, server_of)
        for line in remedy:
            enter(line)

        if firewall is not own_rules:
            assert not [line for line in remedy if f"# {line}\n" not in PAGE]
        assert not worked_before
        assert remedy
        assert drops_of(lab, file) == []
        assert fetches(lab, server_of)
