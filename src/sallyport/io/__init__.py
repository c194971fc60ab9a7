"""Sockets, served on the event loop: made, accepted, watched in fair order, filtered."""
