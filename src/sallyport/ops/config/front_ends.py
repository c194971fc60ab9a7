"""Front ends: from the sections below `[frontends]` to settings, and what is wrong with them."""

from collections.abc import Iterable
from pathlib import Path

from sallyport.addresses import Endpoint
from sallyport.ops.config.document import ApiShape, PcpShape, Report, SocksShape
from sallyport.ops.config.rule_shapes import UserShape
from sallyport.ops.config.settings import ApiSettings, PcpSettings, SocksSettings, socket_path_fault
from sallyport.passwords import PasswordHash


def read_pcp(shape: PcpShape | None, report: Report) -> PcpSettings | None:
    """Return what `[frontends.pcp]` means; mistakes go to `report`."""
    if shape is None:
        return None
    if shape.min_lifetime > shape.max_lifetime:
        report.add(
            ("frontends", "pcp", "min_lifetime"),
            f"min_lifetime {shape.min_lifetime} is above max_lifetime {shape.max_lifetime};"
            " write a smaller one",
        )
    return PcpSettings(shape.nat_pmp, shape.min_lifetime, shape.max_lifetime)


def read_socks(
    shape: SocksShape | None, users: Iterable[UserShape | None], report: Report
) -> SocksSettings | None:
    """Return what `[frontends.socks]` means; mistakes go to `report`.

    The passwords of users are looked at whether the section is there or not.
    """
    passwords = _passwords(users, report)
    if shape is None:
        return None
    path = ("frontends", "socks")
    listen: list[Endpoint] = []
    for i, text in enumerate(shape.listen):
        try:
            at = Endpoint.parse(text)
        except ValueError as error:
            report.add((*path, "listen", i), f"{error}; write one like 10.0.0.1:1080")
            continue
        if at.port == 0 or at.address.is_unspecified or at.address.is_multicast:
            report.add(
                (*path, "listen", i),
                f"{text!r} is no place inside to listen at; write one like 10.0.0.1:1080",
            )
        elif at in listen:
            report.add((*path, "listen", i), f"{text} stands before it; write it once")
        listen.append(at)
    is_proven = shape.authentication == "password"
    if is_proven and not passwords:
        report.add(
            (*path, "authentication"),
            "no user has a password; write one for each with `sallyport passwd`, or"
            ' authentication = "none"',
        )
    return SocksSettings(tuple(listen), passwords if is_proven else None)


def read_api(shape: ApiShape | None, report: Report) -> ApiSettings | None:
    """Return what `[frontends.api]` means; mistakes go to `report`."""
    if shape is None:
        return None
    path = Path(shape.socket)
    if fault := socket_path_fault(path, "socket"):
        report.add(("frontends", "api", "socket"), fault)
    return ApiSettings(path, shape.group)


def _passwords(users: Iterable[UserShape | None], report: Report) -> dict[str, PasswordHash]:
    found: dict[str, PasswordHash] = {}
    for i, user in enumerate(users):
        if user is None or user.password is None:
            continue
        try:
            found[user.name] = PasswordHash.parse(user.password)
        except ValueError as error:
            report.add(("users", i, "password"), f"{error}; write what `sallyport passwd` prints")
    return found
