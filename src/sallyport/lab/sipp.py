"""Many calls at once in the lab: callers by SIPp, and who answers them all, by Net::SIP."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sallyport.addresses import IpAddress
from sallyport.lab.host import Host
from sallyport.lab.net_sip import why_no_net_sip
from sallyport.lab.service import Service
from sallyport.lab.sip import PORT, written

# As SIPp's own caller, but with ports of its own for the media of each call, and no port of its own
# in Via (`rport`): what a gateway must change is all there.
_SCENARIO = """\
<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="caller">
<send retrans="500"><![CDATA[
INVITE sip:lee@[remote_ip]:[remote_port] SIP/2.0
{headers}
To: <sip:lee@[remote_ip]:[remote_port]>
CSeq: 1 INVITE
Content-Type: application/sdp
Content-Length: [len]

v=0
o=kim 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200"/>
<send><![CDATA[
ACK sip:lee@[remote_ip]:[remote_port] SIP/2.0
{headers}
To: <sip:lee@[remote_ip]:[remote_port]>[peer_tag_param]
CSeq: 1 ACK
Content-Length: 0

]]></send>
<pause/>
<send retrans="500"><![CDATA[
BYE sip:lee@[remote_ip]:[remote_port] SIP/2.0
{headers}
To: <sip:lee@[remote_ip]:[remote_port]>[peer_tag_param]
CSeq: 2 BYE
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"""
_MACHINE = """\
my $telephone = Net::SIP::Simple->new(from => "sip:lee\\@$ARGV[0]", leg => "sip:$ARGV[0]");
$telephone->listen;
$telephone->loop;
"""
_HEADERS = """\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:kim@[local_ip]:[local_port]>;tag=[pid]-[call_number]
Call-ID: [call_id]
Contact: <sip:kim@[local_ip]:[local_port]>
Max-Forwards: 70"""

# Each call takes four ports, and 500 calls of one caller are the most that anything here makes.
_PORTS_OF_ONE = 2000
_FIRST_MEDIA_PORT = 10000


def why_no_sipp() -> str | None:
    """Return why calls cannot be made by the hundred; None when they can."""
    return None if shutil.which("sipp") else "sipp: not installed (scripts/bootstrap does it)"


class AnsweringMachine(Service):
    """Answers every call at once, and ends it when its caller does.

    Not by SIPp: what it has answered it gives up when the INVITE is repeated, and answers no BYE.
    """

    def __init__(self, host: Host, folder: Path, family: int) -> None:
        """Start it on a host, at its address of IP version 4 or 6."""
        self._address = host.address(family)
        super().__init__("net-sip", host, folder, missing=why_no_net_sip())

    def _command(self) -> list[str]:
        return ["perl", "-MNet::SIP", "-e", _MACHINE, f"{written(self._address)}:{PORT}"]

    def _answers(self) -> bool:
        # The port is taken as soon as it listens: /proc/net/udp has it in hexadecimal.
        with self.host.entered():
            tables = (Path("/proc/thread-self/net", name) for name in ("udp", "udp6"))
            return any(f":{PORT:04X} " in table.read_text(encoding="ascii") for table in tables)


@dataclass(frozen=True, slots=True)
class CallLoad:
    """Calls of several callers on one host to one address."""

    to: IpAddress
    calls: int
    """How many, of all callers together."""
    rate: float
    """How many are begun in a second."""
    seconds: float
    """How long each lasts."""
    callers: int = 4
    patience: float = 60.0
    """Seconds more than that: a call whose message is lost takes half a second longer, then one,
    then two, and is given up after 32 (RFC 3261 section 17.1.1.2)."""


def make_calls(host: Host, folder: Path, load: CallLoad) -> list[str]:
    """Make the calls; return what went wrong, of each caller with a call that failed."""
    folder.mkdir(exist_ok=True)
    scenario = folder / "caller.xml"
    scenario.write_text(_SCENARIO.format(headers=_HEADERS), encoding="ascii")
    callers = []
    for number in range(load.callers):
        log = folder / f"caller{number}.log"
        callers.append((host.popen(_caller(host, scenario, load, number), log=log), log))
    wrong = []
    for process, log in callers:
        try:
            code = process.wait(load.calls / load.rate + load.seconds + load.patience)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            wrong.append(f"{log.name}: exit {code}\n{log.read_text(errors='replace')[-2000:]}")
    return wrong


def _caller(host: Host, scenario: Path, load: CallLoad, number: int) -> list[str]:
    own = str(host.address(load.to.version))
    media = _FIRST_MEDIA_PORT + number * _PORTS_OF_ONE
    return [
        *("sipp", f"{written(load.to)}:{PORT}", "-sf", str(scenario), "-nostdin"),
        *("-i", own, "-p", str(PORT + number), "-mi", own, "-mp", str(media)),
        *("-r", str(load.rate / load.callers), "-m", str(load.calls // load.callers)),
        *("-l", str(load.calls), "-d", str(round(load.seconds * 1000))),
    ]
