"""Endings: how a play may end early, and what must be gone afterwards."""

from collections.abc import Callable

from sallyport.testing.conversation import Closes, Side
from sallyport.testing.stage import Play

Ending = Callable[[Play], None]


def the_client_resets(play: Play) -> None:
    """The client resets its connection."""
    play.connection.kill("client-reset")
    play.stage.settle()


def the_server_resets(play: Play) -> None:
    """The server resets its connection."""
    play.connection.kill("server-reset")
    play.stage.settle()


def the_client_closes_then_the_server(play: Play) -> None:
    """Both streams end, the client's first."""
    play.run((Closes(Side.CLIENT), Closes(Side.SERVER)))


def the_server_closes_then_the_client(play: Play) -> None:
    """Both streams end, the server's first."""
    play.run((Closes(Side.SERVER), Closes(Side.CLIENT)))


def the_session_is_killed(play: Play) -> None:
    """An operator ends the session."""
    play.connection.session.kill("killed")
    play.stage.settle()


def the_client_falls_silent(play: Play) -> None:
    """The client sends nothing for so long that a conversation of datagrams ends."""
    play.connection.close("idle")
    play.stage.settle()


def every_transfer_is_reset(play: Play) -> None:
    """Every connected peer resets, then the client does."""
    for flow in play.flows():
        flow.abort()
    play.stage.settle()
    the_client_resets(play)


STREAM_ENDINGS = (
    the_client_resets,
    the_server_resets,
    the_client_closes_then_the_server,
    the_server_closes_then_the_client,
    the_session_is_killed,
    every_transfer_is_reset,
)
DATAGRAM_ENDINGS = the_client_falls_silent, the_session_is_killed


def name_of(ending: Ending) -> str:
    """Return the name of an ending in words."""
    return ending.__name__.strip("_").replace("_", " ")


def trouble_after(play: Play) -> str | None:
    """Return what is wrong after every host has gone; None when nothing is."""
    stage = play.stage
    left = (
        stage.leftovers()
    )  # Transfers finish here, through the filters; their faults are looked for afterwards.
    return stage.fault() or left or play.wrongly_detached()
