"""The nftables of a host as `nft --json` prints them (libnftables-json(5)), as far as we look.

Only what other programs do with packets of ours is of interest: base chains that may drop them,
and whether a rule accepts them before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from sallyport.kernel import marks

_ENDS = ("drop", "reject")


class ChainName(NamedTuple):
    """Where a chain is."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        """Return it as `nft list chain` wants it."""
        return " ".join(self)


@dataclass(slots=True)
class NftChain:
    """A chain: a base chain has a hook, any may have rules; a rule is its statements, in order."""

    name: ChainName
    hook: str = ""
    policy: str = "accept"
    rules: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HostRules:
    """All chains of a host, and the kernel's helpers that rules assign."""

    chains: Mapping[ChainName, NftChain]
    helpers: tuple[str, ...] = ()
    """The types of the `ct helper` objects there are, such as "ftp"."""

    @classmethod
    def parse(cls, text: str) -> "HostRules":
        """Read the answer of `nft --json list table`; raises ValueError for another text."""
        chains: dict[ChainName, NftChain] = {}
        helpers: list[str] = []
        try:
            items = msgspec.json.decode(text)["nftables"]
            for kind, item in (pair for one in items for pair in one.items()):
                if kind == "chain":
                    name = ChainName(item["family"], item["table"], item["name"])
                    chains[name] = NftChain(
                        name, item.get("hook", ""), item.get("policy", "accept")
                    )
                elif kind == "rule":
                    name = ChainName(item["family"], item["table"], item["chain"])
                    chains[name].rules.append(item["expr"])
                elif kind == "ct helper":
                    helpers.append(str(item["type"]))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"nft lists a rule set that cannot be read: {error!r}") from None
        return cls(chains, tuple(helpers))

    def closed(self, hook: str) -> Iterator[NftChain]:
        """Yield each base chain at `hook` that drops what none of its rules accepts."""
        for chain in self.chains.values():
            if chain.hook == hook and (chain.policy == "drop" or _ends_closed(chain)):
                yield chain

    def reachable(self, chain: NftChain) -> Iterator[NftChain]:
        """Yield `chain` and every chain that it leads to, each once."""
        seen, todo = {chain.name}, [chain]
        while todo:
            one = todo.pop()
            yield one
            for target in (target for rule in one.rules for target in _targets(rule)):
                name = ChainName(one.name.family, one.name.table, target)
                if name in self.chains and name not in seen:
                    seen.add(name)
                    todo.append(self.chains[name])

    def admits_our_mark(self, chain: NftChain) -> bool:
        """Return whether a rule there accepts what carries our conntrack mark."""
        return any(
            "accept" in rule[-1] and any(map(_is_our_mark, rule))
            for one in self.reachable(chain)
            for rule in one.rules
            if rule
        )


def table_names(text: str) -> list[tuple[str, str]]:
    """Return family and name of each table in the answer of `nft list tables`."""
    words = (line.split() for line in text.splitlines())
    return [(one[1], one[2]) for one in words if len(one) == 3 and one[0] == "table"]


def _ends_closed(chain: NftChain) -> bool:
    last = chain.rules[-1] if chain.rules else ()
    is_for_all = all("match" not in statement and "xt" not in statement for statement in last)
    return is_for_all and any(end in statement for statement in last for end in _ENDS)


def _targets(rule: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for statement in rule:
        for verb in ("jump", "goto"):
            if verb in statement:
                yield str(statement[verb]["target"])
        verdicts = statement.get("vmap")
        if isinstance(verdicts, Mapping) and isinstance(verdicts.get("data"), Mapping):
            for _key, verdict in verdicts["data"].get("set", ()):
                yield from _targets([verdict])


def _is_our_mark(statement: Mapping[str, Any]) -> bool:
    """Return whether it is `ct mark & 0x80000000 != 0`, in one of the ways to write that."""
    match = statement.get("match")
    if not isinstance(match, Mapping):
        return False
    asked = match.get("op"), match.get("left"), match.get("right")
    mark = {"ct": {"key": "mark"}}
    # nft 1.0.6 prints a mask of the highest bits as a prefix, later ones as it was written.
    return asked in (
        ("!=", {"&": [mark, marks.PIN]}, 0),
        ("==", {"&": [mark, marks.PIN]}, marks.PIN),
        ("!=", mark, {"prefix": {"addr": 0, "len": 1}}),
        ("==", mark, {"prefix": {"addr": marks.PIN, "len": 1}}),
    )
