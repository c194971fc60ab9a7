"""Time, waiting and serial execution. The core reads no clock: callers pass the time in."""
