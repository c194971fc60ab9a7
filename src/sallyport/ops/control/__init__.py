"""The admin API: what an operator asks of a running gateway, and what it answers."""
