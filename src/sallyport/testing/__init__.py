"""Doubles that ship with the package: a world with its own clock, a data path in memory, dialogues.

Everything here runs the real core; only sockets, kernel and time are replaced.
"""

from sallyport.testing.dialogue import Dialogue
from sallyport.testing.memory import MemoryDataPath, pause
from sallyport.testing.world import MemoryJournal, VirtualWorld, make_gateway, make_policy

__all__ = [
    "Dialogue",
    "MemoryDataPath",
    "MemoryJournal",
    "VirtualWorld",
    "make_gateway",
    "make_policy",
    "pause",
]
