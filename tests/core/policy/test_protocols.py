from uuid import UUID

from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.flags import Transport


def test_the_uuid_follows_from_the_name_and_never_changes() -> None:
    ftp = ProtocolDefinition("ftp", Transport.TCP, 21)

    assert ftp.uuid == ProtocolDefinition("ftp", Transport.TCP, 2121, Direction.INBOUND).uuid
    assert ftp.uuid != ProtocolDefinition("tftp", Transport.UDP, 69).uuid
    assert ftp.uuid == UUID("f6d91caa-ffab-57ef-820e-e736c3fd8ae2")


def test_primaries_are_outbound_unless_said_otherwise() -> None:
    assert ProtocolDefinition("ftp", Transport.TCP, 21).direction is Direction.OUTBOUND
