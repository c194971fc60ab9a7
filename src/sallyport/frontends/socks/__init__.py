"""SOCKS 5, 4 and 4a: a client names its servers and asks for its ports itself (RFC 1928, 1929)."""
