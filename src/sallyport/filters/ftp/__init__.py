"""FTP (RFC 959, 2428, 4217): opens the data connection that both sides agreed on, and no other.

`filter` is what a gateway loads; `dialogue` decides what a command or a reply means, on top of
`stream`, which cuts both directions into lines; `reply_queue` keeps what the client hears in order;
`agreement` is one data connection that was agreed on; `verbs` says which command is which.
"""

from sallyport.filters.ftp.agreement import FtpTransfer
from sallyport.filters.ftp.filter import FTP, FTP_SERVER, FtpFilter
from sallyport.filters.ftp.settings import FtpSettings

__all__ = ["FTP", "FTP_SERVER", "FtpFilter", "FtpSettings", "FtpTransfer"]
