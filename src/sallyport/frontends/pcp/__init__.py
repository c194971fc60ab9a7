"""PCP and NAT-PMP: a client asks for its inbound ports itself (RFC 6887, 7753, 6886)."""
