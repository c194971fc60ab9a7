"""Films of real servers for real clients through the gateway, media counted at the client."""

import time
from collections.abc import Iterator

import pytest
from tests.interop.media_ports import arrives_late, openings, wait_until_closed
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end
from sallyport.lab.meter import MediaMeter
from sallyport.lab.network import Lab
from sallyport.lab.rtsp import (
    FilmServer,
    FilmServerSoftware,
    camera,
    ffmpeg_argv,
    player,
    why_no_rtsp,
)

pytestmark = [pytest.mark.netns, pytest.mark.interop]

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

PORTS = range(5000, 5100)
ENOUGH = 50
"""Datagrams that a client must get to have got a film: half a second of it."""
SOFTWARE: tuple[FilmServerSoftware, ...] = ("gstreamer", "vlc")
# Its clients are quick; what this waits for is that no datagram comes.
PAUSE = 0.5


Films = dict[tuple[FilmServerSoftware, int], FilmServer]
"""The running servers, by what they are and by IP version."""


@pytest.fixture(scope="module")
def films(lab: Lab) -> Iterator[Films]:
    """Run a server of each kind for each family, GStreamer's on the first outside host."""
    if reason := why_no_rtsp():
        pytest.skip(reason)
    running: Films = {}
    for number, software in enumerate(SOFTWARE):
        for family in (4, 6):
            folder = lab.folder / f"{software}-{family}"
            running[software, family] = FilmServer(software, lab.servers[number], folder, family)
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module", params=["kernel", "user"])
def gateway(lab: Lab, films: Films, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Run a gateway whose rule names RTSP."""
    file = lab.folder / f"films-{request.param}.toml"
    text = configuration(gateway=f'data_path = "{request.param}"', protocols=("rtsp",))
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"films-{request.param}")
    yield running
    running.stop()


@both_families
@pytest.mark.parametrize("software", SOFTWARE)
def test_ffmpeg_gets_a_film_over_udp_until_it_ends(
    gateway: RunningGateway,
    lab: Lab,
    films: Films,
    software: FilmServerSoftware,
    family: int,
) -> None:
    server = films[software, family]
    meter = MediaMeter(lab.client, PORTS)
    watching = lab.client.popen(ffmpeg_argv(server.address, PORTS), log=lab.folder / "ffmpeg.log")
    meter.wait_for(ENOUGH, server.address)
    where = openings(gateway)
    assert len(where) == 2

    end(watching)
    wait_until_closed(gateway)
    assert arrives_late(where, server.host, (server.address, 0), meter) == 0


@both_families
def test_a_film_within_the_connection_opens_nothing(
    gateway: RunningGateway, lab: Lab, films: Films, family: int
) -> None:
    argv = ffmpeg_argv(films["gstreamer", family].address, PORTS, transport="tcp")
    meter = MediaMeter(lab.client, PORTS)
    done = lab.client.run([*argv[:-3], "-t", "1", *argv[-3:]])

    assert "frame=" in done.stderr
    assert meter.heard() == 0
    assert openings(gateway) == []


@both_families
@pytest.mark.parametrize("options", ["", "nat-method=none"], ids=["speaks first", "only listens"])
def test_a_film_pauses_goes_on_and_goes_to_another_moment(
    gateway: RunningGateway,
    lab: Lab,
    films: Films,
    options: str,
    family: int,
) -> None:
    server = films["gstreamer", family]
    meter = MediaMeter(lab.client, PORTS)
    with player(lab.client, lab.folder, server.address, PORTS, options=options) as film:
        film.tell("play")
        meter.wait_for(ENOUGH, server.address)
        film.tell("pause")
        time.sleep(PAUSE)
        paused = meter.heard()
        time.sleep(PAUSE)
        assert meter.heard() - paused < ENOUGH / 5
        film.tell("play")
        meter.wait_for(ENOUGH, server.address)
        film.tell("seek 30")
        meter.wait_for(ENOUGH, server.address)
        where = openings(gateway)
        film.tell("stop")
        wait_until_closed(gateway)
        assert arrives_late(where, server.host, (server.address, 0), meter) == 0


@pytest.mark.soak
@both_families
def test_a_film_goes_on_after_a_pause_of_75_seconds(
    gateway: RunningGateway, lab: Lab, films: Films, family: int
) -> None:
    server = films["gstreamer", family]
    meter = MediaMeter(lab.client, PORTS)
    with player(lab.client, lab.folder, server.address, PORTS) as film:
        film.tell("play")
        meter.wait_for(ENOUGH, server.address)
        film.tell("pause")
        time.sleep(75)
        film.tell("play")
        meter.wait_for(ENOUGH, server.address)
        film.tell("stop")


@both_families
def test_a_camera_inside_records_to_a_server_outside(
    gateway: RunningGateway, lab: Lab, films: Films, family: int
) -> None:
    server = films["gstreamer", family]
    meter = MediaMeter(server.host, range(1024, 65536))
    with camera(lab.client, lab.folder, server.address) as recording:
        recording.tell("play")
        meter.wait_for(ENOUGH)
        assert len(openings(gateway)) == 1
        recording.tell("stop")
    wait_until_closed(gateway)


@both_families
def test_two_hosts_that_ask_for_the_same_ports_get_each_their_own_film(
    gateway: RunningGateway, lab: Lab, films: Films, family: int
) -> None:
    meters = {host: MediaMeter(host, PORTS) for host in lab.clients[:2]}
    watched = dict(zip(meters, (films[name, family] for name in SOFTWARE), strict=True))
    two = range(5000, 5004)
    watching = [
        host.popen(ffmpeg_argv(server.address, two), log=lab.folder / f"ffmpeg-{host.name}.log")
        for host, server in watched.items()
    ]
    try:
        for host, meter in meters.items():
            meter.wait_for(ENOUGH, watched[host].address)
        first, second = meters.values()
        assert first.heard(films["vlc", family].address) == 0
        assert second.heard(films["gstreamer", family].address) == 0
    finally:
        for process in watching:
            end(process)
    wait_until_closed(gateway)
