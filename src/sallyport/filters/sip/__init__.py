"""SIP over UDP: telephones inside, a registrar or proxy outside (RFC 3261, 3264, 3581).

| file | what it decides |
|---|---|
| `filter` | what a gateway loads; attaches a dialogue to each conversation |
| `dialogue` | one conversation of a telephone with a server: transactions, registrations, calls |
| `names` | where messages name the telephone, and what the other side is told instead; pure |
| `calls` | the media of one call: which ports open for whom, and how they end |
| `settings` | the keys of `[filters.sip]` |

The telephone speaks to its server from a socket of ours, whose address stands in Contact and Via.
So what the server sends there, an answer or a call, reaches the telephone, and nothing that another
host sends. SIP over TCP and TLS is not read.
"""

from sallyport.filters.sip.filter import SIP, SipFilter
from sallyport.filters.sip.settings import SipSettings

__all__ = ["SIP", "SipFilter", "SipSettings"]
