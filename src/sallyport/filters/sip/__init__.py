"""SIP over UDP and TCP: telephones inside, a registrar or proxy outside (RFC 3261, 3264, 3581).

| file | what it decides |
|---|---|
| `filter` | what a gateway loads; attaches a dialogue to each conversation |
| `dialogue` | one flow: what each message of either side means |
| `framing` | how messages are cut out of datagrams and streams |
| `telephone` | what all conversations of one telephone share: calls, hosts outside, names |
| `far_host` | requests, registrations and ports of a telephone and one host outside |
| `exchanges`, `ports` | requests whose answers count; ports at which a telephone is called |
| `calls` | the media of one call: which ports open for whom, and how they end |
| `flows` | who is at the two ends of a flow, and what each calls the other |
| `names`, `descriptions` | where messages name the telephone and what is told instead; pure |
| `answers`, `registrations` | answers of ours; for how long a registration is granted; pure |
| `settings` | the keys of `[filters.sip]` |

Over UDP a telephone speaks to its server from a socket of ours, whose address stands in Contact and
Via. Any other Contact gets a port of its own. It opens to that server alone when it has accepted
the registration or the call, and closes with them; a provider that opens TCP connections itself
comes in there, and the same filter reads what it says. SIP over TLS is not read.

A PBX inside that is published is a telephone too: "own" is the host inside, "far" the one outside.
"""

from sallyport.filters.sip.filter import SIP, SipFilter
from sallyport.filters.sip.settings import SipSettings

__all__ = ["SIP", "SipFilter", "SipSettings"]
