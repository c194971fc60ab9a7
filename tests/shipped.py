"""What comes with Sallyport, as messages and lists name it: one place for tests that quote them."""

FILTERS = ("ftp", "tftp", "dcc", "rtsp")
"""The filters in the order in which they are listed."""

UNNAMED = ["irc", "rtsp"]
"""The protocols that are ordinary traffic until a rule names them, in alphabetical order."""

KNOWN = "ftp, tftp, irc, rtsp, port-mapping, socks-connect, socks-bind, socks-udp"
"""What rules for clients inside may name."""

UNNAMED_SETTINGS: dict[str, dict[str, object]] = {
    "dcc": {"any_peer": False},
    "rtsp": {"media_sources": ()},
}
"""The settings of the filters that are off by default, as they are without a section."""
