"""FTP on the wire (RFC 959, 2428): commands, replies, and the addresses in them."""
