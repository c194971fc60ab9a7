"""Decisions: which client may bind which port, and how a binding lives. No protocol by name."""
