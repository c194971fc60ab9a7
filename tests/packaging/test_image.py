"""The OCI image, run by an OCI runtime with what Docker and Podman set for a container.

`scripts/try-image` makes the image and runs these. Neither engine is needed, nor is one tried:
crun does what both ask of it, the system calls they allow are those of Podman's own file, and
Docker's list differs from it where the gateway is concerned in one call.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.interop.matrix import GiveServer, fill

from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

ROOT = Path(__file__).parents[2]
ALLOWED_CALLS = ROOT / ".cache/debian/usr/share/containers/seccomp.json"

# What docs/how-to/container.md says to type for each.
CAPABILITIES = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]
OF_DOCKER = [*CAPABILITIES, "CAP_SYS_PTRACE"]

# crun wants to see cgroups of version 2, though it is told to leave them alone.
_WITH_CGROUPS = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
CRUN = ["crun", "--cgroup-manager=disabled"]


@dataclass(frozen=True)
class Engine:
    """What an engine is told, and the calls that it allows for one capability only."""

    name: str
    capabilities: list[str]
    is_sys_writable: bool = True
    for_ptrace: frozenset[str] = frozenset()

    def calls(self) -> dict[str, Any]:
        """Return the filter of system calls, as a runtime takes it."""
        held = set(self.capabilities)
        withheld = set() if "CAP_SYS_PTRACE" in held else self.for_ptrace
        whole = json.loads(ALLOWED_CALLS.read_text(encoding="ascii"))
        rules = []
        for rule in whole["syscalls"]:
            included, excluded = rule.get("includes", {}), rule.get("excludes", {})
            if not set(included.get("caps", ())) <= held or held & set(excluded.get("caps", ())):
                continue
            if "amd64" not in included.get("arches", ["amd64"]):
                continue
            kept = {key: rule[key] for key in ("action", "args", "errnoRet") if rule.get(key)}
            rules.append({**kept, "names": [n for n in rule["names"] if n not in withheld]})
        return {
            "defaultAction": whole["defaultAction"],
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [rule for rule in rules if rule["names"]],
        }


PODMAN = Engine("podman", CAPABILITIES)
DOCKER = Engine("docker", OF_DOCKER, for_ptrace=frozenset({"pidfd_getfd"}))


@pytest.fixture(scope="module")
def bundle(request: pytest.FixtureRequest, lab: Lab) -> Path:
    """Unpack the image as an engine does."""
    image = request.config.getoption("--image")
    if image is None:
        pytest.skip("no image is given: scripts/try-image makes one and runs it")
    (entry,) = json.loads((image / "index.json").read_text(encoding="utf-8"))["manifests"]
    tag = entry["annotations"]["org.opencontainers.image.ref.name"]
    unpacked = lab.folder / "bundle"
    argv = ["umoci", "unpack", "--image", f"{image}:{tag}", str(unpacked)]
    subprocess.run(argv, check=True, capture_output=True)
    (unpacked / "config.json").rename(unpacked / "image.json")
    return unpacked


def configure(bundle: Path, lab: Lab, engine: Engine) -> Path:
    """Write what an engine makes of `docker run`; return the volume of the control socket."""
    made = json.loads((bundle / "image.json").read_text(encoding="utf-8"))
    volume = lab.folder / f"run-{engine.name}"
    volume.mkdir()
    process, linux = made["process"], made["linux"]
    process["terminal"] = False
    kinds = ("bounding", "effective", "permitted")
    process["capabilities"] = dict.fromkeys(kinds, engine.capabilities)
    del process["rlimits"], linux["resources"]
    linux["seccomp"] = engine.calls()
    linux["readonlyPaths"] = [] if engine.is_sys_writable else ["/proc/sys"]
    for namespace in linux["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = f"/run/netns/{lab.gateway.namespace}"
    made["root"]["readonly"] = True
    unwanted = {"/sys/fs/cgroup", "/run/sallyport"}
    made["mounts"] = [one for one in made["mounts"] if one["destination"] not in unwanted]
    made["mounts"].append(
        {
            "destination": "/run/sallyport",
            "type": "bind",
            "source": str(volume),
            "options": ["bind", "rw"],
        }
    )
    (bundle / "config.json").write_text(json.dumps(made), encoding="utf-8")
    return volume


def started(bundle: Path, lab: Lab, name: str) -> "subprocess.Popen[bytes]":
    argv = ["unshare", "-mC", "sh", "-c", _WITH_CGROUPS, "sh", *CRUN]
    return lab.gateway.popen(
        [*argv, "run", "--bundle", str(bundle), name], log=lab.folder / f"{name}.log"
    )


@contextmanager
def container(bundle: Path, lab: Lab, engine: Engine) -> Iterator["subprocess.Popen[bytes]"]:
    volume = configure(bundle, lab, engine)
    process = started(bundle, lab, engine.name)
    log = lab.folder / f"{engine.name}.log"

    def answers() -> bool:
        return (volume / "control.sock").exists() and "gateway.started" in log.read_text("utf-8")

    try:
        wait_until(process, answers, log, "the container does not start")
        yield process
    finally:
        subprocess.run([*CRUN, "kill", engine.name, "KILL"], check=False, capture_output=True)
        end(process)


@pytest.mark.parametrize("engine", [PODMAN, DOCKER], ids=lambda engine: engine.name)
def test_a_gateway_in_a_container_serves_a_transfer_and_leaves_the_host_as_it_was(
    engine: Engine, bundle: Path, lab: Lab, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    fill(server.folder / "file", 300_000)
    with container(bundle, lab, engine) as process:
        for family in (4, 6):
            address = server.account(family).address
            url = f"ftp://{f'[{address}]' if family == 6 else address}/file"
            argv = ["curl", "--silent", "--show-error", "--max-time", "10", "--ftp-port", "-", url]
            assert len(lab.client.run([*argv, "--output", str(lab.folder / "got")]).stderr) == 0
            assert (lab.folder / "got").read_bytes() == (server.folder / "file").read_bytes()
        asked = [*CRUN, "exec", engine.name, "sallyport", "status", "--json"]
        status = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
        assert status["degraded"] is None
        subprocess.run([*CRUN, "kill", engine.name, "TERM"], check=True)
        assert process.wait(40) == 0

    assert lab.gateway.run(["nft", "list", "tables"]).stdout == ""


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Engine("sealed", CAPABILITIES, is_sys_writable=False), "leave /proc/sys writable"),
        (Engine("no-ptrace", CAPABILITIES, for_ptrace=DOCKER.for_ptrace), "pidfd_getfd"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_an_engine_forbids_is_said_when_the_container_starts(
    engine: Engine, said: str, bundle: Path, lab: Lab
) -> None:
    configure(bundle, lab, engine)

    process = started(bundle, lab, engine.name)

    assert process.wait(20) == 1
    assert said in (lab.folder / f"{engine.name}.log").read_text(encoding="utf-8")
    assert lab.gateway.run(["nft", "list", "tables"]).stdout == ""
