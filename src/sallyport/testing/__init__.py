"""Doubles that ship with the package: a world with its own clock, a data path in memory, dialogues.

Everything here runs the real core; only sockets, kernel and time are replaced. `check_filter` tries
every promise that all filters have to keep on any filter.
"""

from sallyport.testing.contract import ContractBroken, check_filter, contract_checks
from sallyport.testing.conversation import (
    Conversation,
    client_closes,
    client_says,
    peer_connects,
    peer_finishes,
    peer_is_sent,
    peer_sends,
    server_closes,
    server_says,
)
from sallyport.testing.dialogue import Dialogue
from sallyport.testing.memory import MemoryDataPath, pause
from sallyport.testing.transfer import Transfer
from sallyport.testing.world import MemoryJournal, VirtualWorld, make_gateway, make_policy

__all__ = [
    "ContractBroken",
    "Conversation",
    "Dialogue",
    "MemoryDataPath",
    "MemoryJournal",
    "Transfer",
    "VirtualWorld",
    "check_filter",
    "client_closes",
    "client_says",
    "contract_checks",
    "make_gateway",
    "make_policy",
    "pause",
    "peer_connects",
    "peer_finishes",
    "peer_is_sent",
    "peer_sends",
    "server_closes",
    "server_says",
]
