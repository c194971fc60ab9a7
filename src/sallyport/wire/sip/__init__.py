"""SIP (RFC 3261): its messages, and the headers that say where a phone is reached."""
