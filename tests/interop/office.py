"""The configuration that interop tests share: one office behind NAT, IPv6 routed."""


def configuration(
    *,
    gateway: str = "",
    protocols: tuple[str, ...] = ("ftp",),
    rule: str = "",
    rest: str = "",
) -> str:
    """Return the text of a configuration file.

    `gateway` and `rule` are more lines of `[gateway]` and of the access rule; `rest` is what comes
    after it all.
    """
    names = ", ".join(f'"{name}"' for name in protocols)
    return f"""\
[gateway]
{gateway}

[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.external]
interfaces = ["ext0"]

[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"

[[access_rules]]
name = "office"
action = "allow"
protocols = [{names}]
from = ["internal"]
to = ["external"]
{rule}

{rest}
"""
