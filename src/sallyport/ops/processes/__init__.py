"""The processes of a gateway: a supervisor, and workers that serve its clients."""
