"""What comes with Sallyport, as messages and lists name it: one place for tests that quote them."""

FILTERS = ("ftp", "tftp", "dcc", "rtsp", "sip")
"""The filters in the order in which they are listed."""

UNNAMED = ["irc", "rtsp", "sip"]
"""The protocols that are ordinary traffic until a rule names them, in alphabetical order."""

KNOWN = "ftp, tftp, irc, rtsp, sip, port-mapping, socks-connect, socks-bind, socks-udp"
"""What rules for clients inside may name."""

UNNAMED_SETTINGS: dict[str, dict[str, object]] = {
    "dcc": {"any_peer": False},
    "rtsp": {"media_sources": ()},
    "sip": {"media_peers": "answered", "ice": "alone", "max_registration": 3600},
}
"""The settings of the filters that are off by default, as they are without a section."""
