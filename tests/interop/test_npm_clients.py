"""Clients from npm, which `scripts/try-clients` brings: the suite needs no third registry."""

from collections.abc import Iterator
from pathlib import Path
from socket import create_connection, create_server

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import PORT, PROTOCOLS, reaches, rows

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

MODULES = Path(__file__).parents[2] / ".cache/npm/node_modules"

pytestmark = [pytest.mark.netns, pytest.mark.interop]


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test whose package is missing."""
    is_there = (MODULES / name).exists()
    return pytest.mark.skipif(
        not is_there, reason=f"no {name} of npm: scripts/try-clients brings it"
    )


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that grants whatever a client inside asks for."""
    file = lab.folder / "clients.toml"
    listen = f'[frontends.pcp]\n[frontends.socks]\nlisten = ["10.0.0.1:{PORT}"]\n'
    text = configuration(protocols=("port-mapping", *PROTOCOLS), rest=listen)
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="clients")
    yield running
    running.stop()


def node(lab: Lab, code: str) -> str:
    """Run a script inside that prints what it has got."""
    argv = ["node", "--input-type=commonjs", "--eval", code]
    return lab.client.run(argv, env={"NODE_PATH": str(MODULES)}).stdout.strip()


@needs("nat-pmp")
def test_nat_pmp_of_npm_maps_a_port(gateway: RunningGateway, lab: Lab) -> None:
    def ask(seconds: int) -> str:
        return node(
            lab,
            "const c = require('nat-pmp').connect('10.0.0.1');"
            f"c.portMapping({{private: 26931, public: 0, ttl: {seconds}, type: 'tcp'}}, (e, i) =>"
            "{ console.log(e ? e.message : i.public); c.close(); });",
        )

    with lab.client.entered(), create_server(("10.0.0.8", 26931)):
        assert reaches(lab.server, Endpoint.parse(f"203.0.113.1:{ask(300)}"))
    ask(0)
    assert rows(gateway) == []


@needs("@achingbrain/nat-port-mapper")
def test_nat_port_mapper_of_npm_maps_a_port(gateway: RunningGateway, lab: Lab) -> None:
    code = (
        f"import('{MODULES}/@achingbrain/nat-port-mapper/dist/src/index.js').then"
        "(async ({ pmpNat }) => {"
        "const nat = pmpNat('10.0.0.1'); const found = [];"
        "for await (const m of nat.mapAll(26941, { internalAddress: '10.0.0.8', protocol: 'TCP',"
        " autoRefresh: false, ttl: 300000 })) found.push(m.externalHost + ':' + m.externalPort);"
        "console.log(found[0]); process.exit(0); });"
    )
    with lab.client.entered(), create_server(("10.0.0.8", 26941)):
        assert reaches(lab.server, Endpoint.parse(node(lab, code)))
    for one in rows(gateway):
        gateway.ask("bindings", "kill", str(one["id"]))


@needs("socks")
@pytest.mark.parametrize("version", [5, 4])
def test_socks_of_npm_is_called_back_by_the_peer_it_named(
    gateway: RunningGateway, lab: Lab, tmp_path: Path, version: int
) -> None:
    code = (
        "const { SocksClient } = require('socks');"
        f"const c = new SocksClient({{"
        f" proxy: {{ host: '10.0.0.1', port: {PORT}, type: {version} }},"
        " command: 'bind', destination: { host: '203.0.113.9', port: 0 } });"
        "c.on('bound', i => console.log(i.remoteHost.host + ':' + i.remoteHost.port));"
        "c.on('established', i => { i.socket.on('data', d => {"
        " console.log(d.toString()); process.exit(0); }); i.socket.resume(); });"
        "c.on('error', e => { console.log(e.message); process.exit(1); }); c.connect();"
    )
    log = tmp_path / "log"
    argv = ["node", "--input-type=commonjs", "--eval", code]
    program = lab.client.popen(argv, log=log, env={"NODE_PATH": str(MODULES)})
    try:
        wait_until(program, lambda: log.read_text().endswith("\n"), log, "nothing is bound")
        at = Endpoint.parse(log.read_text().strip())
        assert not reaches(lab.stranger, at)
        with lab.server.entered(), create_connection((str(at.address), at.port), 10) as peer:
            peer.sendall(b"from outside")
            assert program.wait(10) == 0, log.read_text()
    finally:
        end(program)
    assert log.read_text().endswith("from outside\n")


@needs("socks")
@pytest.mark.parametrize("version", [5, 4])
def test_socks_of_npm_connects(gateway: RunningGateway, lab: Lab, version: int) -> None:
    code = (
        "const { SocksClient } = require('socks');"
        f"SocksClient.createConnection({{"
        f" proxy: {{ host: '10.0.0.1', port: {PORT}, type: {version} }},"
        " command: 'connect', destination: { host: '203.0.113.9', port: 8089 } })"
        ".then(i => { i.socket.on('data', d => { console.log(d.toString()); process.exit(0); });"
        " i.socket.resume(); }, e => { console.log(e.message); process.exit(1); });"
    )
    with lab.server.entered(), create_server(("203.0.113.9", 8089)) as server:
        server.settimeout(10)
        argv = ["node", "--input-type=commonjs", "--eval", code]
        program = lab.client.popen(argv, env={"NODE_PATH": str(MODULES)})
        with server.accept()[0] as peer:
            peer.sendall(b"hello")
            assert program.wait(10) == 0
