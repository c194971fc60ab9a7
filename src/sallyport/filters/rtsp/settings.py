"""The keys of `[filters.rtsp]`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RtspSettings:
    """The keys of `[filters.rtsp]`."""

    media_sources: tuple[str, ...] = ()
    """Addresses and networks from which media may come besides the server itself, where the server
    says so by `source=` or `src_addr=` (attack R05)."""
