"""Other firewalls on the host: which ones drop what Sallyport lets through, and what each wants.

An accept of ours is final for our table alone: another table may still drop the packet. Each
firewall has its own way to be told (tried with firewalld 1.3, ufw 0.36 and Docker's rules).
"""

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum

from sallyport.kernel import marks
from sallyport.ops.doctor.finding import Finding, wrong
from sallyport.ops.doctor.rulesets import HostRules, NftChain

_RULE = f"ct mark & {marks.PIN:#x} != 0 accept"
_MATCH = f"-m connmark --mark {marks.PIN:#x}/{marks.PIN:#x} -j ACCEPT"


class FirewallTool(StrEnum):
    """Who made a chain."""

    FIREWALLD = "firewalld"
    UFW = "ufw"
    DOCKER = "Docker"
    LIBVIRT = "libvirt"
    KUBE_PROXY = "kube-proxy"
    NFT = "an nftables rule set"


# How the chains of each begin; of tables that several write to, the first that is there counts.
_PREFIXES = (
    (FirewallTool.UFW, "ufw"),
    (FirewallTool.DOCKER, "DOCKER"),
    (FirewallTool.LIBVIRT, "LIBVIRT"),
    (FirewallTool.KUBE_PROXY, "KUBE-"),
)
# The rules of each family that come first, and how their chains begin.
_UFW_FILES = (("before.rules", "ufw"), ("before6.rules", "ufw6"))

_TABLES = {
    "firewalld": FirewallTool.FIREWALLD,
    "docker-bridges": FirewallTool.DOCKER,
    "libvirt_network": FirewallTool.LIBVIRT,
    "kube-proxy": FirewallTool.KUBE_PROXY,
}


def tool_of(rules: HostRules, chain: NftChain) -> FirewallTool:
    """Return who made `chain`, by its table and by the chains it leads to."""
    if known := _TABLES.get(chain.name.table):
        return known
    reached = [one.name.chain for one in rules.reachable(chain)]
    for tool, prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in reached):
            return tool
    return FirewallTool.NFT


def check_firewalls(
    rules: HostRules, iptables: str, inside: Iterable[str], ports: Iterable[str]
) -> Iterator[Finding]:
    """Yield a finding for each firewall that drops what carries our mark.

    `iptables` is what iptables-save and ip6tables-save print: nft cannot show their matches.
    `inside` are the interfaces of inside networks, `ports` the supervised ones, as "21/tcp".
    """
    accepting = _accepting(iptables)
    closed: dict[FirewallTool, list[NftChain]] = {}
    for hook in ("forward", "input"):
        for chain in rules.closed(hook):
            if chain.name.table.startswith("sallyport") or chain.name.family in {"bridge", "arp"}:
                continue
            if not rules.admits_our_mark(chain) and not _is_admitted(rules, chain, accepting):
                closed.setdefault(tool_of(rules, chain), []).append(chain)
    for tool, chains in closed.items():
        if tool is FirewallTool.FIREWALLD:
            yield from _firewalld(rules, sorted(inside), sorted(ports))
            continue
        names = ", ".join(str(chain.name) for chain in chains)
        yield wrong(
            "firewall-drops-ours",
            f"{tool} drops by default what is forwarded or comes in ({names}), and has no rule for"
            " flows of Sallyport",
            "control connections or transfers that Sallyport allows may hang or be refused",
            *_remedy(tool, chains),
        )


def _remedy(tool: FirewallTool, chains: list[NftChain]) -> list[str]:
    match tool:
        case FirewallTool.UFW:
            return [*(_first_of_ufw(*one) for one in _UFW_FILES), "ufw reload"]
        case FirewallTool.DOCKER:
            return [f"{family}tables -I DOCKER-USER {_MATCH}" for family in ("ip", "ip6")]
        case FirewallTool.LIBVIRT | FirewallTool.KUBE_PROXY | FirewallTool.NFT:
            return [
                f"iptables -I {one.name.chain} {_MATCH}"
                if one.name.table == "filter" and one.name.chain.isupper()
                else f"nft insert rule {one.name} '{_RULE}'"
                for one in chains
            ]
        case FirewallTool.FIREWALLD:
            raise AssertionError("firewalld is advised by zones")


def _first_of_ufw(file: str, chains: str) -> str:
    """Return the command that puts our rules first into a file of ufw.

    Not last, where its comments put an administrator's: `ufw-not-local` comes before, and drops
    what is not for an address of this host. An intercepted connection is for its server's.
    """
    rules = "\\n".join(f"-A {chains}-before-{hook} {_MATCH}" for hook in ("input", "forward"))
    return f"sed -i '/^# End required lines/a {rules}' /etc/ufw/{file}"


def _is_admitted(rules: HostRules, chain: NftChain, accepting: Collection[tuple[str, str]]) -> bool:
    """Return whether a rule of iptables that accepts our mark can be reached from `chain`."""
    return chain.name.table == "filter" and any(
        (one.name.family, one.name.chain) in accepting for one in rules.reachable(chain)
    )


def _accepting(iptables: str) -> set[tuple[str, str]]:
    """Return family and name of each chain of iptables that has a rule to accept our mark."""
    found, family = set(), "ip"
    for line in iptables.splitlines():
        if line.startswith("# Generated by"):
            family = "ip6" if "ip6tables" in line else "ip"
        elif line.startswith("-A ") and line.endswith(_MATCH):
            found.add((family, line.split()[1]))
    return found


def _firewalld(rules: HostRules, inside: list[str], ports: list[str]) -> Iterator[Finding]:
    """Yield what each inside zone of firewalld does not let in.

    It cannot match a mark. Control connections are delivered to the gateway, so they meet the input
    rules of the zone; of their data, what is translated passes (`ct status dnat`).
    """
    for interface in inside:
        zone = _zone_of(rules, interface)
        missing = [port for port in ports if not _lets_in(rules, zone, port)]
        if not missing:
            continue
        yield wrong(
            "firewall-drops-ours",
            f"firewalld's zone {zone}, of {interface}, lets in no {', '.join(missing)}",
            "control connections of clients inside reach Sallyport through the input rules of"
            " their zone: they are refused. Open the port, not the service: that would bring the"
            " kernel's helper",
            *(f"firewall-cmd --permanent --zone={zone} --add-port={port}" for port in missing),
            "firewall-cmd --reload",
        )


def _zone_of(rules: HostRules, interface: str) -> str:
    prefix = "filter_IN_"
    for chain in rules.chains.values():
        if chain.name.table != "firewalld" or chain.name.chain != "filter_INPUT_ZONES":
            continue
        default = "public"
        for rule in chain.rules:
            target = next(
                (str(s["goto"]["target"]) for s in rule if "goto" in s), prefix + default
            ).removeprefix(prefix)
            named = [s["match"]["right"] for s in rule if "match" in s]
            if interface in named:
                return target
            if not named:
                default = target
        return default
    return "public"


def _lets_in(rules: HostRules, zone: str, port: str) -> bool:
    number, _, transport = port.partition("/")
    wanted = {"payload": {"protocol": transport, "field": "dport"}}
    for chain in rules.chains.values():
        if chain.name.chain != f"filter_IN_{zone}_allow":
            continue
        for rule in chain.rules:
            matches = [s["match"] for s in rule if "match" in s]
            if any(m["left"] == wanted and m["right"] == int(number) for m in matches):
                return "accept" in rule[-1]
    return False
