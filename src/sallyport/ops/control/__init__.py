"""The control socket: what an operator asks of a running gateway, and what it answers."""
