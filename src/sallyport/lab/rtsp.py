"""Real servers and clients of RTSP in the lab: GStreamer, VLC and ffmpeg.

`scripts/try-media` brings them: with their libraries they take 250 MB.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sallyport.addresses import IpAddress
from sallyport.errors import StartupError
from sallyport.lab.host import Host
from sallyport.lab.service import Service

PORT = 554

FilmServerSoftware = Literal["gstreamer", "vlc"]

# Two streams, of about a hundred datagrams a second together; GStreamer can go to any moment of it.
_FILM = (
    "videotestsrc ! video/x-raw,format=I420,width=176,height=144,framerate=25/1 ! jpegenc"
    " ! rtpjpegpay name=pay0 pt=26"
    " audiotestsrc ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0"
)
_TAPE = "rtpjpegdepay name=depay0 ! fakesink async=false"
_CAMERA = (
    "videotestsrc is-live=true ! video/x-raw,format=I420,width=176,height=144,framerate=25/1"
    " ! jpegenc ! rtspclientsink protocols=udp location={url}"
)
# No other way is tried when nothing comes: a way that is closed must show.
_PLAYER = (
    "rtspsrc protocols=udp timeout=0 latency=100 port-range={first}-{last} {options}"
    " location={url} ! fakesink sync=false async=false"
)

# As long as it takes GStreamer to read what its plugins are, on a busy machine.
_PATIENCE = 20.0


def why_no_rtsp() -> str | None:
    """Return why these programs cannot run here; None when they can."""
    folders = [Path(one) for one in os.environ.get("LD_LIBRARY_PATH", "").split(":") if one]
    folders += Path("/usr/lib").glob("*-linux-gnu")
    missing = [
        library
        for library in ("libgstrtspserver-1.0.so.0", "libvlc.so.5")
        if not any((folder / library).exists() for folder in folders)
    ]
    missing += [] if shutil.which("ffmpeg") else ["ffmpeg"]
    return f"{', '.join(missing)}: not installed (scripts/try-media does it)" if missing else None


def url(address: IpAddress, path: str = "film") -> str:
    """Return where a server has something."""
    return f"rtsp://{f'[{address}]' if address.version == 6 else address}:{PORT}/{path}"


def environment(folder: Path) -> dict[str, str]:
    """Return what GStreamer needs: a folder where it notes which plugins there are."""
    return {"GST_REGISTRY": str(folder / "gstreamer.registry"), "GST_REGISTRY_FORK": "no"}


class FilmServer(Service):
    """A running server with a film at one address of a host; GStreamer's has a tape as well."""

    def __init__(self, software: FilmServerSoftware, host: Host, folder: Path, family: int) -> None:
        """Start it; raises StartupError when it cannot be run."""
        self.address = host.address(family)
        super().__init__(software, host, folder, missing=why_no_rtsp())

    def _command(self) -> list[str]:
        # One registry for all, beside what they serve.
        variables = [f"{name}={value}" for name, value in environment(self.folder.parent).items()]
        program = ["env", *variables, sys.executable, "-m", f"sallyport.lab.{self.software}"]
        at = [str(self.address), str(PORT)]
        if self.software == "gstreamer":
            return [*program, "serve", *at, _FILM, _TAPE]
        return [*program, *at, str(self._made_film())]

    def _made_film(self) -> Path:
        file = self.folder / "film.ts"
        pictures = "testsrc=size=176x144:rate=25"
        self.host.run(
            [
                *("ffmpeg", "-nostdin", "-y", "-f", "lavfi", "-i", pictures),
                *("-f", "lavfi", "-i", "sine=frequency=400", "-t", "20"),
                *("-c:v", "mpeg2video", "-c:a", "mp2", "-f", "mpegts", str(file)),
            ]
        )
        return file

    def _answers(self) -> bool:
        try:
            with self.host.entered():
                socket.create_connection((str(self.address), PORT)).close()
        except OSError:
            return False
        return True


def ffmpeg_argv(
    address: IpAddress, ports: range, *, transport: Literal["udp", "tcp"] = "udp"
) -> list[str]:
    """Return the command by which ffmpeg watches a film until it is ended, which ends the film."""
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-rtsp_transport", transport),
        *("-min_port", str(ports[0]), "-max_port", str(ports[-1])),
        *("-i", url(address), "-f", "null", "-"),
    ]


class GstPlayer:
    """GStreamer as a client: plays, pauses, goes to another moment, or records."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take a process that runs `sallyport.lab.gstreamer`."""
        self._process = process

    def tell(self, command: str) -> None:
        """Send `play`, `pause`, `seek SECONDS` or `stop`, and wait until that is done.

        Raises StartupError when the player has ended.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise StartupError("the player has no pipes")
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise StartupError(f"the player has ended before {command!r}")


@contextmanager
def player(
    host: Host, folder: Path, address: IpAddress, ports: range, *, options: str = ""
) -> Iterator[GstPlayer]:
    """Run a player of a film over UDP; `options` are more of rtspsrc's."""
    pipeline = _PLAYER.format(first=ports[0], last=ports[-1], options=options, url=url(address))
    with _running(host, folder, pipeline) as made:
        yield made


@contextmanager
def camera(host: Host, folder: Path, address: IpAddress) -> Iterator[GstPlayer]:
    """Run a camera that records to the tape of a server over UDP."""
    with _running(host, folder, _CAMERA.format(url=url(address, "tape"))) as made:
        yield made


@contextmanager
def _running(host: Host, folder: Path, pipeline: str) -> Iterator[GstPlayer]:
    with open(folder / "player.log", "ab") as log, host.entered():
        process = subprocess.Popen(
            [sys.executable, "-m", "sallyport.lab.gstreamer", "play", pipeline],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment(folder)},
        )
    with process:
        try:
            yield GstPlayer(process)
        finally:
            process.kill()
