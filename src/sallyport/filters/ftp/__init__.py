"""FTP (RFC 959, 2428, 4217): opens the data connection that both sides agreed on, and no other.

`filter` is what a gateway loads. A dialogue is three classes, one on top of the other: `stream`
cuts both directions into lines, `server_side` decides what a reply means, `dialogue` what a command
does. `reply_queue` says which command a reply answers and keeps what the client hears in order;
`agreement` is one data connection that was agreed on, and `openings` how it is opened; `passive`
reads replies that name an address, `command_lines` lines with Telnet commands in them; `verbs` says
which command is which. `settings` is what a rule may say, `restrictions` what it forbids,
`passive_range` what it opens when TLS hides the replies, `consequences` all that in words.
"""

from sallyport.filters.ftp.agreement import FtpTransfer
from sallyport.filters.ftp.filter import FTP, FTP_SERVER, FtpFilter
from sallyport.filters.ftp.settings import FtpSettings

__all__ = ["FTP", "FTP_SERVER", "FtpFilter", "FtpSettings", "FtpTransfer"]
