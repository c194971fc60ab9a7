"""Formats: bytes to values and back. Pure: no sockets, no clock, no decisions about what may be."""
