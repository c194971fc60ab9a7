"""Decisions: who may bind what, and how a binding lives. It knows no protocol by name."""
