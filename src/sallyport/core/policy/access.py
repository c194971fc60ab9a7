"""Access checks: what the rules would say about a client and a host, without any effect."""

from sallyport.addresses import IpAddress
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import ANYONE, Asker, Policy, Verdict


def check_host_access(
    policy: Policy,
    client: IpAddress,
    protocol: ProtocolDefinition,
    host: IpAddress,
    port: int | None,
    *,
    asker: Asker = ANYONE,
    minute: int | None = None,
    check_publishing: bool,
) -> Verdict:
    """Return what the rules say about a client and a host (`Session.host_access_check`)."""
    if check_publishing:
        return _check_publishing(policy, client, protocol, host, port)
    verdict = policy.decide(protocol.name, client, host, asker, minute=minute)
    if (
        verdict.allowed
        and verdict.rule is not None
        and port not in (None, protocol.dialled_port)
        and port < verdict.rule.min_server_port
    ):
        return Verdict(
            allowed=False,
            reason="server-port-below-minimum",
            rule=verdict.rule,
            relation=verdict.relation,
        )
    return verdict


def _check_publishing(
    policy: Policy,
    server: IpAddress,
    protocol: ProtocolDefinition,
    host: IpAddress,
    port: int | None,
) -> Verdict:
    answer = Verdict(allowed=False, reason="no-rule-matched")
    for rule in policy.publishing_rules:
        if rule.server.address == server and port in (None, rule.server.port):
            answer = policy.decide_published(rule, protocol.name, host)
            if answer.allowed:
                break
    return answer
