"""Real SIP in the lab: a provider (kamailio) and telephones (baresip), as Debian has them."""

import json
import os
import shutil
import socket
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sallyport.addresses import IpAddress
from sallyport.lab.host import Host
from sallyport.lab.service import Service

PORT = 5060
"""Where providers listen, and telephones unless they are told otherwise (RFC 3261, 19.1.2)."""

Kind = Literal["plain", "nat"]
"""A provider that believes Contact, or one that writes there where the packet came from."""

Transport = Literal["udp", "tcp"]

PASSWORD = "secret"  # noqa: S105
"""Of telephones that live for one test."""

# What a telephone does not hear within this time does not come: it is ten times what a request and
# its answer take when the first datagram is lost (RFC 3261: T1 is half a second).
_PATIENCE = 10.0
# The control connection is at the telephone's own loopback.
_CONTROL_PORT = 4444

# It asks for passwords, as providers do. It relays no media, and stays in the path of every call.
_PROVIDER = """\
#!KAMAILIO
debug=2
log_stderror=yes
children=1
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
tcp_connection_lifetime={tcp_seconds}
{listen}
mpath="{modules}/"
{load}
modparam("registrar", "min_expires", 1)
modparam("nathelper|registrar", "received_avp", "$avp(received)")
request_route {{
  {answer_to_source}
  if (is_method("REGISTER")) {{
    if (!pv_www_authenticate("$fd", "{password}", "0")) {{ www_challenge("$fd", "0"); exit; }}
    {register_source}
    save("location");
    exit;
  }}
  {contact_is_source}
  t_on_reply("answers");
  if (has_totag()) {{
    if (!loose_route() && is_method("ACK") && !t_check_trans()) exit;
    t_relay();
    exit;
  }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  record_route();
  if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
  t_relay();
}}
onreply_route[answers] {{ {contact_is_source} return; }}
"""
_MODULES = ("tm", "sl", "pv", "rr", "textops", "siputils", "usrloc", "registrar", "auth")

# It has no sound card: what it hears is not played, and it says the silence of a file.
_TELEPHONE = """\
poll_method epoll
sip_listen {own}
module_path {modules}
module g711.so
module aubridge.so
module aufile.so
module_tmp account.so
module_app ctrl_tcp.so
module_app menu.so
ctrl_tcp_listen 127.0.0.1:{control}
audio_player aubridge,sound
audio_source aufile,{sound}
audio_alert aubridge,alert
rtp_ports {first}-{last}
rtcp_mux no
call_max_calls 8
jitter_buffer_delay 1-2
"""


def why_no_sip() -> str | None:
    """Return why telephones and providers cannot run here; None when they can."""
    missing = [name for name in ("kamailio", "baresip") if shutil.which(name) is None]
    return f"{', '.join(missing)}: not installed (scripts/bootstrap does it)" if missing else None


def written(address: IpAddress) -> str:
    """Return an address as a SIP URI has it."""
    return f"[{address}]" if address.version == 6 else str(address)


def _beside(program: str, pattern: str) -> Path:
    """Return the folder of a program's modules: it may be unpacked anywhere."""
    return next((Path(shutil.which(program) or "").parents[1] / "lib").glob(pattern))


def _silence(file: Path) -> Path:
    """Write five minutes of silence, read at the start of a call: where it ends, media ends."""
    with wave.open(str(file), "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        made.writeframes(bytes(300 * 8000 * 2))
    return file


class SipProvider(Service):
    """A running registrar and proxy, over UDP and TCP, at both addresses of a host."""

    def __init__(self, host: Host, folder: Path, kind: Kind) -> None:
        """Start it on a host; raises StartupError when it cannot be run."""
        self._kind = kind
        super().__init__("kamailio", host, folder, missing=why_no_sip())

    def _command(self) -> list[str]:
        file = self.folder / "kamailio.cfg"
        addresses = [written(self.host.address(family)) for family in (4, 6)]
        helps = self._kind == "nat"
        text = _PROVIDER.format(
            listen="\n".join(f"listen={t}:{a}:{PORT}" for a in addresses for t in ("udp", "tcp")),
            modules=_beside("kamailio", "*/kamailio/modules"),
            load="\n".join(f'loadmodule "{name}.so"' for name in (*_MODULES, "nathelper")),
            password=PASSWORD,
            # It reaches a telephone by the connection that has registered it, or not at all.
            tcp_seconds=3600 if helps else 120,
            answer_to_source="force_rport();" if helps else "",
            register_source="fix_nated_register();" if helps else "",
            contact_is_source="fix_nated_contact();" if helps else "",
        )
        file.write_text(text, encoding="ascii")
        # Its private libraries lie above the modules, where only an installed one looks.
        known = os.environ.get("LD_LIBRARY_PATH", "")
        libraries = f"LD_LIBRARY_PATH={known}:{_beside('kamailio', '*/kamailio')}"
        # -DD: stay in the foreground; -m, -M: megabytes shared and of each process.
        command = ["env", libraries, "kamailio", "-f", str(file), "-DD", "-E", "-m", "32"]
        return [*command, "-M", "4", "-Y", str(self.folder), "-w", str(self.folder)]

    def _answers(self) -> bool:
        try:
            with self.host.entered():
                for family in (4, 6):
                    socket.create_connection((str(self.host.address(family)), PORT)).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A number at a provider, by which a telephone is called."""

    user: str
    provider: IpAddress
    transport: Transport = "udp"

    @property
    def uri(self) -> str:
        """The address that is dialled."""
        return f"sip:{self.user}@{written(self.provider)}"


class Telephone(Service):
    """A running telephone that does as it is told, and tells what happens to it."""

    def __init__(
        self, host: Host, folder: Path, family: int, *, ports: range, port: int = PORT
    ) -> None:
        """Start it on a host, for SIP over IP version 4 or 6 at `port`.

        It takes media at `ports`. Raises StartupError when it cannot be run.
        """
        self.address = host.address(family)
        self.ports = ports
        self._port = port
        self._control = socket.socket()  # until it answers
        self._unread = b""
        self._events: list[dict[str, Any]] = []
        super().__init__("baresip", host, folder, missing=why_no_sip())

    def _command(self) -> list[str]:
        text = _TELEPHONE.format(
            own=f"{written(self.address)}:{self._port}",
            modules=_beside("baresip", "baresip/modules"),
            control=_CONTROL_PORT + self._port,
            first=self.ports[0],
            last=self.ports[-1],
            sound=_silence(self.folder / "silence.wav"),
        )
        (self.folder / "config").write_text(text, encoding="ascii")
        for name in ("accounts", "contacts"):
            (self.folder / name).touch()
        return ["baresip", "-f", str(self.folder), "-s"]

    def _answers(self) -> bool:
        try:
            with self.host.entered():
                there = ("127.0.0.1", _CONTROL_PORT + self._port)
                made = socket.create_connection(there)
        except OSError:
            return False
        self._control.close()
        self._control = made
        return True

    def stop(self) -> None:
        """End it as a power cut does: no call is ended, no registration withdrawn. Idempotent."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    # -- what it is told ------------------------------------------------------------------------

    def register(self, subscriber: Subscriber, *, seconds: int = 600) -> None:
        """Register with the provider for so long, and again before that ends."""
        self.tell(
            "uanew",
            f"<{subscriber.uri};transport={subscriber.transport}>;auth_user={subscriber.user};auth_pass={PASSWORD};"
            f"regint={seconds};answermode=manual;audio_codecs=pcmu",
        )
        self.hears("REGISTER_OK")

    def dial(self, subscriber: Subscriber) -> None:
        """Call a subscriber; `hears("CALL_RINGING")` says that it rings there."""
        self.tell("dial", subscriber.uri)

    def answer(self) -> None:
        """Take the call that is coming in, and wait until it stands."""
        self.hears("CALL_INCOMING")
        self.tell("accept")
        self.hears("CALL_ESTABLISHED")

    def hold(self) -> None:
        """Put the current call on hold, and wait until the far side agrees."""
        self._changes("hold")

    def resume(self) -> None:
        """Go on with the call that was on hold, and wait until the far side agrees."""
        self._changes("resume")

    def _changes(self, command: str) -> None:
        self._forget()
        self.tell(command)
        self.hears("CALL_REMOTE_SDP", saying="answer")

    def hang_up(self) -> None:
        """End the current call, whether it stands, rings or comes in."""
        self.tell("hangup")
        self.hears("CALL_CLOSED")

    def end_calls(self) -> None:
        """End all calls there may be, and forget what has happened."""
        while "ESTABLISHED" in (said := self.tell("listcalls")) or "ING" in said:
            self.tell("hangup")
        self._forget()

    def tell(self, command: str, parameters: str = "") -> str:
        """Send any command of baresip; return what it says to it."""
        message = json.dumps({"command": command, "params": parameters}).encode()
        self._control.settimeout(_PATIENCE)
        self._control.sendall(b"%d:%s," % (len(message), message))
        while True:
            one = self._read()
            if one.get("response"):
                return str(one["data"])
            self._events.append(one)

    # -- what happens to it ---------------------------------------------------------------------

    def hears(self, kind: str, saying: str | None = None, *, seconds: float = _PATIENCE) -> str:
        """Return the parameter of the next event of this kind, of baresip's names.

        `saying`: of those with this parameter. Raises TimeoutError, with what happened instead,
        when none comes for so long.
        """
        passed: list[str] = []
        deadline = time.monotonic() + seconds
        try:
            while True:
                # Not for each event: a call that stands tells of itself every five seconds.
                self._control.settimeout(max(0.001, deadline - time.monotonic()))
                one = self._events.pop(0) if self._events else self._read()
                said = str(one.get("param", ""))
                if one.get("type") == kind and saying in (None, said):
                    return said
                passed.append(f"{one.get('type')} {said}")
        except TimeoutError:
            raise TimeoutError(f"no {kind} at {self.address}, but: {', '.join(passed)}") from None

    def _forget(self) -> None:
        """Forget what has happened; an answer to a command comes behind all of that."""
        self.tell("listcalls")
        self._events.clear()

    def _read(self) -> dict[str, Any]:
        """Read one document, a netstring: its length, a colon, JSON, a comma."""
        while True:
            length, colon, rest = self._unread.partition(b":")
            if colon and len(rest) > int(length):
                self._unread = rest[int(length) + 1 :]
                return dict(json.loads(rest[: int(length)]))
            data = self._control.recv(65536)
            if not data:
                raise TimeoutError(f"the telephone at {self.address} has ended")
            self._unread += data
