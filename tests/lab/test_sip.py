import pytest

from sallyport.lab.meter import MediaMeter
from sallyport.lab.network import Lab
from sallyport.lab.sip import Kind, SipProvider, Subscriber, Telephone, why_no_sip

pytestmark = [pytest.mark.netns, pytest.mark.interop]

MEDIA = range(10000, 10100)


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("kind", ["plain", "nat"])
def test_two_telephones_with_nothing_between_them_hear_each_other(
    lab: Lab, family: int, kind: Kind
) -> None:
    if reason := why_no_sip():
        pytest.skip(reason)
    number = f"{kind}-{family}"
    where, hosts = lab.servers[0], (lab.servers[1], lab.servers[2])
    provider = SipProvider(
        where, lab.folder / f"provider-{number}", "plain" if kind == "plain" else "nat"
    )
    one, other = (
        Telephone(host, lab.folder / f"phone-{number}-{host.name}", family, ports=MEDIA)
        for host in hosts
    )
    try:
        for phone, name in ((one, "kim"), (other, "lee")):
            phone.register(Subscriber(name, where.address(family)))
        meter = MediaMeter(hosts[0], MEDIA)
        one.dial(Subscriber("lee", where.address(family)))
        other.answer()
        one.hears("CALL_ESTABLISHED")
        meter.wait_for(20, hosts[1].address(family))
        other.hang_up()
        one.hears("CALL_CLOSED")
        with pytest.raises(TimeoutError, match="no CALL_RINGING at"):
            one.hears("CALL_RINGING", seconds=0.1)
    finally:
        for service in (one, other, provider):
            service.stop()
