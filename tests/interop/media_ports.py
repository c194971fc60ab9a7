"""Where a gateway lets media in, and what arrives there when nothing may."""

import socket
import time

from tests.interop.rtsp_peers import SILENCE

from sallyport.addresses import IpAddress
from sallyport.errors import OperatorError
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host, wait_until
from sallyport.lab.meter import MediaMeter
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Bindings

LATE = 20
"""Datagrams that are sent when all is over: not one may arrive."""

Opening = tuple[str, int]
"""An address and port that peers are told."""


def openings(gateway: RunningGateway) -> list[Opening]:
    """Return where media is let in; raises StartupError when the gateway does not say."""
    answers: list[Bindings] = []

    def has_said() -> bool:
        try:
            answers.append(request(gateway.control_socket, "bindings.list", expect=Bindings))
        except OperatorError:  # on a busy machine a worker may not answer within a second
            return False
        return True

    wait_until(gateway.process, has_said, gateway.log, "nothing is said of media ports")
    (answer,) = answers
    # Over TCP comes what a provider has to say to a telephone: for as long as it is registered.
    media = [row.proxy_address for row in answer.bindings if row.transport == "udp"]
    found = [one.rpartition(":") for one in media]
    return [(address.strip("[]"), int(port)) for address, _, port in found]


def wait_until_closed(gateway: RunningGateway) -> None:
    """Return once nothing is open; raises StartupError when something stays."""
    wait_until(gateway.process, lambda: not openings(gateway), gateway.log, "media ports stay")


def arrives_late(
    where: list[Opening], sender: Host, source: tuple[IpAddress, int], meter: MediaMeter
) -> int:
    """Send to where media went, from where it came; return how many datagrams reach the meter."""
    before = meter.heard()
    address, port = source
    with sender.entered():
        made = socket.socket(
            socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
        )
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((str(address), port))
        for there in where:
            for number in range(LATE):
                made.sendto(b"late %d" % number, there)
    # There is no event for what does not come.
    time.sleep(SILENCE)
    return meter.heard() - before
