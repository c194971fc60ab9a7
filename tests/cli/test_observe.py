import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.ops.control.served import served

from sallyport.addresses import Endpoint
from sallyport.cli import main
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    PublishingRule,
    Relation,
)
from sallyport.errors import NotFound, PolicyDenied
from sallyport.ops.control.operations import Handler
from sallyport.ops.control.schema import (
    BindingRow,
    Bindings,
    ControlRow,
    FlowRow,
    Killed,
    SessionRow,
    Sessions,
    Status,
    rules_of,
)

STATUS = Status(
    release="0.1.0",
    pid=42,
    uptime_seconds=3700.0,
    data_path="kernel",
    port_range="40000-59999",
    networks=["internal", "external"],
    supervised=["ftp", "tftp"],
    unsupervised=[],
    sessions=1,
    controls=1,
    bindings=2,
    refusals={"policy-denied": 3, "address-not-allowed": 1},
    log_records_lost=0,
    repairs=0,
    degraded=None,
)
SESSION = SessionRow(
    id="8f3a",
    client="10.0.0.8",
    since="2026-01-01T00:00:00Z",
    controls=[
        ControlRow(client="10.0.0.8:50000", server="203.0.113.9:21", filter="ftp", state="open")
    ],
    bindings=2,
)
BINDING = BindingRow(
    id="17",
    session="8f3a",
    filter="ftp",
    rule="office ftp",
    transport="tcp",
    proxy_address="203.0.113.1:40000",
    client_address="10.0.0.8:1553",
    peers=["203.0.113.9"],
    flags=["timeout"],
    data_path="kernel",
    state="armed",
    age_seconds=61.0,
    connections=[
        FlowRow(peer="203.0.113.9:20", from_peer_bytes=1536 * 1024, to_peer_bytes=512),
    ],
    primary="10.0.0.8:50000 > 203.0.113.9:21",
)
UNKNOWN = BindingRow(
    id="18",
    session="8f3a",
    filter="ftp",
    rule="office ftp",
    transport="tcp",
    proxy_address="[2001:db8::1]:40001",
    client_address=None,
    peers=None,
    flags=[],
    data_path="kernel",
    state="reserved",
    age_seconds=0.0,
    connections=[],
    primary=None,
)
POLICY = Policy(
    networks=(
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"),)),
        Network("external", ("ext0",)),
    ),
    network_rules=(NetworkRule("internal", "external", ipv4=Relation.NAT),),
    access_rules=(
        AccessRule(
            "office ftp",
            Action.ALLOW,
            frozenset({"ftp"}),
            Hosts.of("internal"),
            Hosts.of("external"),
        ),
    ),
    publishing_rules=(
        PublishingRule(
            "our ftp",
            "ftp-server",
            Endpoint.parse("203.0.113.1:21"),
            Endpoint.parse("10.0.0.20:21"),
        ),
    ),
)


def find_session(arguments: Mapping[str, object]) -> Sessions:
    if arguments["id"] != "8f3a":
        raise NotFound(f"no session has the id {arguments['id']}")
    return Sessions(sessions=[SESSION])


def refuse(_arguments: Mapping[str, object]) -> object:
    raise PolicyDenied("a rule says no")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A control socket that answers like a gateway with one session."""
    path = tmp_path_factory.mktemp("run") / "control.sock"
    handlers: dict[str, Handler] = {
        "status": lambda _: STATUS,
        "sessions.list": lambda _: Sessions(sessions=[SESSION]),
        "sessions.show": find_session,
        "sessions.kill": lambda found: Killed(sessions=[str(found["id"])], bindings=["17", "18"]),
        "bindings.list": lambda _: Bindings(bindings=[BINDING, UNKNOWN]),
        "bindings.show": lambda _: Bindings(bindings=[BINDING]),
        "bindings.kill": refuse,
        "rules.show": lambda _: rules_of(POLICY),
    }
    with served(path, handlers):
        yield path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            ["sessions", "list"],
            "ID    CLIENT    SINCE                 CONTROLS  BINDINGS\n"
            "8f3a  10.0.0.8  2026-01-01T00:00:00Z  1         2\n",
        ),
        (
            ["sessions", "show", "8f3a"],
            "id         8f3a\n"
            "client     10.0.0.8\n"
            "since      2026-01-01T00:00:00Z\n"
            "bindings   2\n"
            "control 1  10.0.0.8:50000 > 203.0.113.9:21 ftp open\n",
        ),
        (
            ["sessions", "kill", "8f3a"],
            "killed session 8f3a\nkilled binding 17\nkilled binding 18\n",
        ),
        (
            ["bindings", "list"],
            "ID  SESSION  FRONTEND     FILTER  PROXY                    CLIENT         PEERS     "
            "   STATE     AGE    BYTES\n"
            "17  8f3a     transparent  ftp     tcp/203.0.113.1:40000    10.0.0.8:1553  203.0.113.9"
            "  armed     1m 1s  1.5 MiB\n"
            "18  8f3a     transparent  ftp     tcp/[2001:db8::1]:40001  -              anyone     "
            "  reserved  0s     0 B\n",
        ),
        (
            ["bindings", "show", "17"],
            "id              17\n"
            "session         8f3a\n"
            "filter          ftp\n"
            "rule            office ftp\n"
            "transport       tcp\n"
            "proxy address   203.0.113.1:40000\n"
            "client address  10.0.0.8:1553\n"
            "peers           203.0.113.9\n"
            "flags           timeout\n"
            "data path       kernel\n"
            "state           armed\n"
            "age             1m 1s\n"
            "expires in      never\n"
            "asked by        transparent\n"
            "primary         10.0.0.8:50000 > 203.0.113.9:21\n"
            "connection 1    203.0.113.9:20, 1.5 MiB in, 512 B out\n",
        ),
        (
            ["rules", "show"],
            "NETWORK   INTERFACES  ADDRESSES\n"
            "internal  int0        10.0.0.0/24\n"
            "external  ext0        all others\n"
            "\n"
            "FROM      TO        IPV4  IPV6\n"
            "internal  external  nat   -\n"
            "\n"
            "RULE        ACTION  PROTOCOLS  FROM      TO        BINDINGS  ADDRESSES  PORTS\n"
            "office ftp  allow   ftp        internal  external  64        client     1024-65535\n"
            "\n"
            "PUBLISHED  PROTOCOL    LISTEN          SERVER        FULL PROXY  BINDINGS"
            "  PORTS\n"
            "our ftp    ftp-server  203.0.113.1:21  10.0.0.20:21  no          64"
            "        1024-65535\n",
        ),
        (
            ["status"],
            "release         0.1.0\n"
            "process         42\n"
            "running for     1h 1m\n"
            "data path       kernel\n"
            "port range      40000-59999\n"
            "networks        internal, external\n"
            "supervised      ftp, tftp\n"
            "not supervised  none\n"
            "sessions        1\n"
            "controls        1\n"
            "bindings        2\n"
            "refusals        address-not-allowed 1, policy-denied 3\n"
            "log lines lost  0\n"
            "repairs         0\n"
            "degraded        no\n",
        ),
    ],
)
def test_people_get_tables(
    gateway: Path, line: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--control-socket", str(gateway)]) == 0
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (["status"], "refusals"),
        (["sessions", "list"], "sessions"),
        (["sessions", "show", "8f3a"], "sessions"),
        (["sessions", "kill", "8f3a"], "bindings"),
        (["bindings", "list"], "bindings"),
        (["bindings", "show", "17"], "bindings"),
        (["rules", "show"], "access_rules"),
    ],
)
def test_programs_get_one_object_with_a_version(
    gateway: Path, line: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--json", "--control-socket", str(gateway)]) == 0

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["version"] == 1
    assert key in document
    assert captured.err == ""


def test_what_does_not_exist_has_its_exit_code(
    gateway: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sessions", "show", "none", "--control-socket", str(gateway)]) == 4

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "sallyport: no session has the id none\n"


def test_what_policy_refuses_has_its_exit_code(gateway: Path) -> None:
    assert main(["bindings", "kill", "17", "--control-socket", str(gateway)]) == 5


def test_without_a_gateway_every_question_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bindings", "list", "--json", "--control-socket", str(tmp_path / "no")]) == 3

    captured = capsys.readouterr()
    assert json.loads(captured.out)["code"] == "not-running"
    assert "no gateway listens" in captured.err
