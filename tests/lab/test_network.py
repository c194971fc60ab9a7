import os
import socket
import subprocess
from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.lab.gateway import forward
from sallyport.lab.host import Host
from sallyport.lab.network import Lab, standing

PREFIX = f"t{os.getpid()}-net"

# Nobody listens here; a refusal from the right host is the answer we look for.
CLOSED_PORT = 9


def reaches(host: Host, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.entered(), socket.socket(family) as probe:
        probe.settimeout(0.3)
        try:
            probe.connect((address, CLOSED_PORT))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


def test_a_lab_of_no_clients_or_too_many_servers_is_refused() -> None:
    with pytest.raises(ValueError, match="called client, not 0"):
        Lab("x", clients=0)
    with pytest.raises(ValueError, match="called server, not 12"):
        Lab("x", servers=12)


def test_hosts_of_a_kind_count_upwards_in_both_families() -> None:
    lab = Lab("x", clients=3, servers=2)

    assert [str(host) for host in (*lab.clients, *lab.servers)] == [
        "Host(client, 10.0.0.8, fd00:a::8)",
        "Host(client2, 10.0.0.9, fd00:a::9)",
        "Host(client3, 10.0.0.10, fd00:a::a)",
        "Host(server, 203.0.113.9, 2001:db8::9)",
        "Host(server2, 203.0.113.10, 2001:db8::a)",
    ]


@pytest.mark.netns
class TestStanding:
    def test_neighbours_reach_each_other_in_both_families(self, lab: Lab) -> None:
        assert reaches(lab.client, "10.0.0.1")
        assert reaches(lab.client, "10.0.0.9")
        assert reaches(lab.client, "fd00:a::1")
        assert reaches(lab.stranger, "203.0.113.1")
        assert reaches(lab.servers[2], "2001:db8::66")

    def test_ipv6_is_routed_once_the_gateway_forwards_and_ipv4_is_not(self, lab: Lab) -> None:
        assert not reaches(lab.client, "2001:db8::9")
        forward(lab.gateway)

        assert reaches(lab.client, "2001:db8::9")
        assert reaches(lab.stranger, "fd00:a::9")
        assert not reaches(lab.server, "10.0.0.8")
        assert not reaches(lab.client, "203.0.113.9")

    def test_two_labs_stand_side_by_side(self, lab: Lab) -> None:
        with Lab.build(PREFIX) as other:
            assert reaches(other.client, "10.0.0.1")
            assert reaches(lab.client, "10.0.0.1")

    def test_a_name_is_taken_once(self, lab: Lab) -> None:
        with pytest.raises(StartupError, match="stands already"):
            Lab.build(lab.prefix)
        assert reaches(lab.client, "10.0.0.1")

    def test_nothing_is_left_after_close_even_of_strangers_processes(self) -> None:
        with Lab.build(PREFIX) as lab:
            # Not started by `popen`: the lab does not know it.
            with lab.server.entered():
                inhabitant = subprocess.Popen(["sleep", "60"])
            folder = lab.folder
            assert folder.is_dir()

        assert inhabitant.wait(5) == -9
        assert standing(PREFIX) == []
        assert not folder.exists()

    def test_a_left_over_part_of_a_lab_is_found_by_its_name_and_removed(self) -> None:
        subprocess.run(["ip", "netns", "add", f"{PREFIX}-server3"], check=True)
        subprocess.run(["ip", "netns", "add", f"{PREFIX}-elsewhere"], check=True)
        try:
            assert standing(PREFIX) == [f"{PREFIX}-server3"]
            Lab(PREFIX).close()
            assert standing(PREFIX) == []
        finally:
            subprocess.run(["ip", "netns", "delete", f"{PREFIX}-elsewhere"], check=True)

    def test_a_build_that_fails_half_way_leaves_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_lab: Lab) -> None:
            raise subprocess.CalledProcessError(1, ["ip"], stderr="Unknown device type\n")

        monkeypatch.setattr(Lab, "_plug", fail)
        with pytest.raises(StartupError, match="cannot build the lab: Unknown device type"):
            Lab.build(PREFIX)

        assert standing(PREFIX) == []
        assert not Path(f"/run/sallyport-lab-{PREFIX}").exists()


def test_a_machine_that_forbids_it_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sallyport.lab.network.why_no_namespaces", lambda: "no CAP_SYS_ADMIN here")
    with pytest.raises(StartupError, match=r"^no CAP_SYS_ADMIN here$"):
        Lab.build(PREFIX)
