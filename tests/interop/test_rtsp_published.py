"""A real camera of ours, published by the gateway, watched by a real client outside."""

import pytest
from tests.interop.media_ports import openings, wait_until_closed
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end
from sallyport.lab.meter import MediaMeter
from sallyport.lab.network import Lab
from sallyport.lab.rtsp import PORT, FilmServer, ffmpeg_argv, why_no_rtsp

pytestmark = [pytest.mark.netns, pytest.mark.interop]

PORTS = range(5000, 5100)
ENOUGH = 50
"""Datagrams that a viewer must get to have got a film: half a second of it."""

_RULE = """
[[publishing_rules]]
name = "front door"
protocol = "rtsp-server"
listen = "{listen}"
server = "{server}"
from = ["external"]
"""


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("data_path", ["kernel", "user"])
def test_a_published_camera_is_watched_from_outside_until_the_viewer_leaves(
    lab: Lab, data_path: str, family: int
) -> None:
    if reason := why_no_rtsp():
        pytest.skip(reason)
    own = lab.client.address(family)
    told = lab.gateway.address(4) if family == 4 else own
    listen, server = (f"{one}:{PORT}" if family == 4 else f"[{one}]:{PORT}" for one in (told, own))
    file = lab.folder / f"published-{data_path}-{family}.toml"
    rule = _RULE.format(listen=listen, server=server)
    text = configuration(gateway=f'data_path = "{data_path}"', protocols=("rtsp",), rest=rule)
    file.write_text(text, encoding="ascii")
    gateway = RunningGateway(lab, ("--config", str(file)), name=file.stem)
    film = FilmServer("gstreamer", lab.client, lab.folder / f"camera-{data_path}-{family}", family)
    meter = MediaMeter(lab.server, PORTS)
    watching = lab.server.popen(ffmpeg_argv(told, PORTS), log=lab.folder / "viewer.log")
    try:
        meter.wait_for(ENOUGH, told)
        assert len(openings(gateway)) == 2
        end(watching)
        wait_until_closed(gateway)
    finally:
        end(watching)
        film.stop()
        gateway.stop()
