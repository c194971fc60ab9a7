"""The daemon and what surrounds it: configuration, control socket, logs."""
