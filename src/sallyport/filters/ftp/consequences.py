"""What the settings of a rule mean for its clients, in words: for the log and `explain`."""

from sallyport.filters.ftp.settings import FtpSettings


def of_tls(settings: FtpSettings, *, is_published: bool, is_translated: bool) -> str:
    """Say what can and cannot work when the commands can no longer be read."""
    ports = settings.passive_range
    if is_published:
        active = "active mode works where the server may open connections itself"
        passive = (
            "passive mode cannot work: write the server's passive ports as passive_range"
            if ports is None
            else f"passive mode works at ports {ports}, if the server listens there and names the"
            " address that its clients know"
        )
    else:
        why = "PORT cannot be rewritten" if is_translated else "PORT cannot be read"
        active = f"active mode cannot work: {why}"
        passive = (
            "passive mode works where clients may open any connection; else write the server's"
            " passive ports as passive_range"
            if ports is None
            else f"passive mode works at ports {ports} of the server"
        )
    return f"the gateway reads no command after AUTH TLS, only after CCC: {active}; {passive}"


def of_settings(settings: FtpSettings, *, is_published: bool, is_translated: bool) -> list[str]:
    """Say what a rule with these settings makes of FTP, one sentence for each."""
    said = []
    if settings.read_only:
        said.append("read_only: commands that may change something are refused with 550, 553, 502")
    if settings.deny:
        said.append(f"deny: {', '.join(settings.deny)} are refused")
    if settings.hides_nothing:
        said.append("tls: AUTH TLS is refused with 534, because the commands must be read")
    else:
        words = of_tls(settings, is_published=is_published, is_translated=is_translated)
        said.append(f"tls: {words}")
    if settings.any_peer:
        said.append("any_peer: data connections may come from other hosts than the far end")
    return said
