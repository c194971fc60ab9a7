"""FTP (RFC 959, 2428, 4217): what is said on a control connection, and what it agrees on.

`formats`, `replies` and `verbs` are the words; `stream` cuts both directions into lines; `answers`
keeps what the client hears in order; `dialogue` decides what a line means. It asks its `host` to
open things, and tells by `agreement` what each data connection is for.
"""

from sallyport.wire.ftp.agreement import Agreement, FtpTransfer, Offer
from sallyport.wire.ftp.dialogue import FtpDialogue
from sallyport.wire.ftp.host import Host

__all__ = ["Agreement", "FtpDialogue", "FtpTransfer", "Host", "Offer"]
