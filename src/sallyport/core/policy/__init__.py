"""May this be? Rules, protocol definitions and the only place where access is decided."""
