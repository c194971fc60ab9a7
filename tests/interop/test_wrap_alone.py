"""`sallyport wrap` beside a gateway that ends and begins anew."""

import sys
from pathlib import Path

import pytest
from tests.interop.office import configuration
from tests.interop.test_wrap import bindings, wrapped

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


def test_a_gateway_that_begins_anew_has_the_port_again(lab: Lab, tmp_path: Path) -> None:
    file, path = lab.folder / "anew.toml", lab.folder / "anew-api.sock"
    rest = f'[frontends.api]\nsocket = "{path}"\n'
    file.write_text(configuration(protocols=("port-mapping",), rest=rest), encoding="ascii")
    program = "import socket, time; sock = socket.create_server(('', 8400)); time.sleep(60)"
    log = tmp_path / "log"
    first = RunningGateway(lab, ("--config", str(file)), name="anew")
    process = lab.client.popen(wrapped(str(path), sys.executable, "-c", program), log=log)
    try:
        wait_until(process, lambda: bool(bindings(first, 8400)), log, "the port does not appear")
        (before,) = bindings(first, 8400)
        first.stop()
        second = RunningGateway(lab, ("--config", str(file)), name="anew")
        try:
            back = "the port does not come back"
            wait_until(process, lambda: bool(bindings(second, 8400)), log, back)
            (after,) = bindings(second, 8400)
            assert after["proxy_address"] == before["proxy_address"]
        finally:
            second.stop()
    finally:
        end(process)
