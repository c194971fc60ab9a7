"""Decisions: who may bind what, and how a binding lives; no sockets, no clock, no protocol names."""
