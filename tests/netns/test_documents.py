"""Every command of the documents is typed, in a lab, as a reader would; those that are not say why.

A page is one reader: a gateway and a client with files of their own in /etc and /run/sallyport. The
table UNTYPED has what cannot be typed here, each with its reason, and what another test types.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.docs.console import NETWORKS, PAGES, ROOT, Command, commands, files, settings, shape
from tests.interop.matrix import GiveServer
from tests.netns.test_takeover import ended_by

from sallyport.lab.gateway import sallyport
from sallyport.lab.host import Host, end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


class Untyped(NamedTuple):
    """Commands that are not typed here: which pages, which commands (both patterns), and why."""

    pages: str
    commands: str
    reason: str


UNTYPED = (
    Untyped(
        r"README.md|CONTRIBUTING.md|docs/benchmarks/.*",
        r"make .*|pytest .*|scripts/.*|\. scripts/environment.*",
        "runs the suite or the benchmarks themselves",
    ),
    Untyped(
        ".*",
        r"(apt|\S*pip) install .*|python3 -m venv .*|ln -s .*",
        "installs on the machine, from the network",
    ),
    Untyped(".*", r"(systemctl|journalctl) .*", "needs a booted systemd: scripts/try-package"),
    Untyped(".*container.md", "make image", "takes minutes: scripts/try-image"),
    Untyped(
        ".*container.md",
        r"(docker|podman|skopeo) .*",
        "needs a container engine: scripts/try-image runs what the options come to",
    ),
    Untyped(
        ".*beside_other_firewalls.md",
        r"(firewall-cmd|sed|ufw|iptables|ip6tables) .*",
        "typed beside the firewall itself: tests/interop/test_doctor.py",
    ),
    Untyped(".*/ftps.md", "(openssl|cat|curl|lftp) .*", "typed by tests/interop/test_ftps.py"),
    Untyped(".*/why.md", ".*", "typed by tests/docs/test_why.py"),
    Untyped(r".*/(monitor|api)\.md", "curl .*", "typed by tests/netns/test_admin.py"),
    Untyped(".*/local_api.md", "ncat .*", "spoken by tests/interop/test_local_api.py"),
    Untyped(".*/test_a_filter.md", "pytest .*", "the tests of tests/docs/test_tutorial.py"),
    Untyped(".*", "sallyport lab (up|down)", "typed by tests/lab/test_lab.py"),
    Untyped(".*/socks.md", "sallyport passwd", "typed by tests/cli/test_passwd.py"),
)

# What /etc/sallyport/sallyport.toml says on a page that does not begin with the shipped one: the
# base or not, and which parts that the page shows.
CONFIGURATIONS = {
    "README.md": ("", (0, 2)),
    "docs/how-to/ftps.md": ("", (0,)),
    "docs/how-to/publish_ftp.md": (NETWORKS, (0,)),
    "docs/how-to/socks.md": (NETWORKS, (0,)),
}

# Verbs that answer by their exit code: doctor finds something, explain says no.
_ALSO_FINE = {"doctor": 6, "explain": 5}

# Verbs that go on until they are interrupted, and what says that they have begun.
_GOES_ON = {"run": "gateway.started", "wrap": " port "}

_HOME = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mkdir -p /etc/sallyport /run/sallyport
mount -t tmpfs tmpfs /run/sallyport
{ cat /etc/hosts && echo 203.0.113.9 ftp.example.org example.org; } >"$1/hosts"
mount --bind "$1/hosts" /etc/hosts
echo ready
exec sleep infinity
"""


def why_not(command: Command) -> str | None:
    """Return why a command is not typed here."""
    for one in UNTYPED:
        if re.fullmatch(one.pages, command.page) and re.fullmatch(one.commands, command.text):
            return one.reason
    return None


TYPED = {
    page: found
    for page in PAGES
    if (found := [one for one in commands(page) if why_not(one) is None])
}


class Desk:
    """A host on which a reader types, with /etc and /run/sallyport of its own."""

    def __init__(self, host: Host, work: Path) -> None:
        self._host = host
        self._prefix = host.namespace.removesuffix(f"-{host.name}")
        self._running: subprocess.Popen[bytes] | None = None
        self._ends = ExitStack()
        self.folder = work / host.name
        home = work / f"{host.name}-home"
        for folder in (self.folder, home):
            folder.mkdir(parents=True, mode=0o755)
        self._log = work / f"{host.name}.log"
        argv = ["unshare", "-m", "sh", "-c", _HOME, "sh", str(home)]
        self._holder = host.popen(argv, log=self._log)
        wait_until(self._holder, lambda: "ready" in self._said(), self._log, "no desk")

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _inside(self, text: str) -> list[str]:
        enter = ["nsenter", "-m", "-t", str(self._holder.pid), "sh", "-c"]
        # The lab that a page builds is the one that stands.
        here = text.replace("ip netns exec lab-", f"ip netns exec {self._prefix}-")
        return [*enter, f"cd {self.folder} && {here}"]

    def type(self, command: Command) -> str:
        """Type a command; return what it printed. What goes on is left running."""
        verb = re.match(r"(?:ip netns exec \S+ )?sallyport (\w+)", command.text)
        name = verb[1] if verb else ""
        if name in _GOES_ON:
            self._start(command, _GOES_ON[name])
            return self._said()
        done = self._host.run(self._inside(command.text), check=False)
        assert done.returncode in {0, _ALSO_FINE.get(name, 0)}, (command, done)
        if name == "upgrade":
            self._go_on_with(int(done.stdout.split()[-1]))
        return done.stdout + done.stderr

    def _go_on_with(self, pid: int) -> None:
        """Note that another process is the gateway now."""
        self._ends.enter_context(ended_by(pid))
        assert self._running is not None
        assert self._running.wait(10) == 0
        self._running = None

    def _start(self, command: Command, begun: str) -> None:
        old = self._running
        if old is not None and "--takeover" not in command.text:
            end(old)
        before = len(self._said())
        self._running = self._host.popen(self._inside(f"exec {command.text}"), log=self._log)
        wait_until(self._running, lambda: begun in self._said()[before:], self._log, command.text)
        if old is not None:
            assert old.wait(10) == 0, command.text

    def leave(self) -> None:
        """End what still runs."""
        self._ends.close()
        if self._running is not None:
            end(self._running)
        end(self._holder)


class Reader:
    """Someone who follows a page, on the gateway and on a client."""

    def __init__(self, lab: Lab, page: str, work: Path) -> None:
        self._page = page
        self._gateway = Desk(lab.gateway, work)
        self._client = Desk(lab.client, work)
        self._is_configured = False
        for name, text in files(page).items():
            (self._gateway.folder / name).write_text(text, encoding="utf-8")
        (self._gateway.folder / "configuration").write_text(self._configuration(), "utf-8")
        install = "install -m 644 configuration /etc/sallyport/sallyport.toml"
        self._gateway.type(Command(page, install))

    def _configuration(self) -> str:
        if self._page not in CONFIGURATIONS:
            return (ROOT / "examples/sallyport.toml").read_text(encoding="utf-8")
        base, parts = CONFIGURATIONS[self._page]
        shown = settings(self._page)
        return "\n".join([base, *(shown[number] for number in parts)])

    def follow(self) -> None:
        """Type every command of the page; a gateway runs already where the page starts none."""
        starts = [one.text for one in TYPED[self._page] if "sallyport run " in one.text]
        if not starts or "--takeover" in starts[0]:
            self._run_configured()
        for one in TYPED[self._page]:
            if one.is_with_configuration and not self._is_configured:
                self._run_configured()
            printed = (self._client if one.is_on_client else self._gateway).type(one)
            for line in one.printed:
                assert shape(line).search(printed), (one, printed)

    def _run_configured(self) -> None:
        run = "sallyport run --config /etc/sallyport/sallyport.toml"
        self._gateway.type(Command(self._page, run))
        self._is_configured = True

    def leave(self) -> None:
        """End everything that the page has started."""
        self._client.leave()
        self._gateway.leave()


@pytest.fixture(scope="module")
def outside(lab: Lab, server_of: GiveServer) -> Iterator[None]:
    """Serve what the pages fetch from ftp.example.org and example.org."""
    ftp = server_of("vsftpd")
    assert ftp.account().address == lab.server.address4
    (ftp.folder / "README").write_text("fetched\n", encoding="ascii")
    (ftp.folder / "hello.txt").write_text("Hello from the other side.\n", encoding="ascii")
    web = lab.server.popen(["python3", "-m", "http.server", "80", "--directory", str(ftp.folder)])
    yield
    end(web)


@pytest.mark.parametrize("page", TYPED)
@pytest.mark.usefixtures("outside")
def test_every_command_of_a_page_does_what_the_page_says(page: str, lab: Lab) -> None:
    reader = Reader(lab, page, lab.folder / page.replace("/", "-"))
    try:
        reader.follow()
    finally:
        reader.leave()


@pytest.mark.parametrize("reason", sorted({one.reason for one in UNTYPED}))
def test_what_is_not_typed_here_says_why(reason: str) -> None:
    untyped = [one for page in PAGES for one in commands(page) if why_not(one) == reason]
    assert untyped, "nothing in the documents is such a command any more"
    for file in re.findall(r"(?:tests|scripts)/[\w./-]+", reason):
        assert (ROOT / file).exists()
    pages = ", ".join(sorted({one.page for one in untyped}))
    pytest.skip(f"{reason}: {len(untyped)} of {pages}")


def test_the_sallyport_that_is_typed_is_the_one_under_test(lab: Lab) -> None:
    typed = lab.gateway.run(["sallyport", "--version"]).stdout
    assert typed == lab.gateway.run([*sallyport(), "--version"]).stdout
