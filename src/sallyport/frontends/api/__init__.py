"""The local API: the primitive for other processes of this host, over a UNIX socket."""
