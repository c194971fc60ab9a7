"""Pinholes and their life: what a data path offers, the registry, ports and their reservations."""
