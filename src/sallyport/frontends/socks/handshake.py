"""What a client says before it gets what it asks for: version, who it is, one request."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeVar

from sallyport.io.sockets import let_end
from sallyport.passwords import UNKNOWN_USER, PasswordHash
from sallyport.wire import socks
from sallyport.wire.socks import Method, Reading, SocksRefusal, SocksReply, SocksRequest

_Value = TypeVar("_Value")

# A password takes 16 MiB and 50 ms of a processor (sallyport/passwords.py): so many at once leave
# the other processors, and the memory, to others.
_judging: Final = asyncio.Semaphore(2)


class WrongPassword(Exception):
    """A user gave a name and a password that do not belong together, or none where one is due."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = name


class SocksHandshake:
    """One client until its request is whole; it reads no byte further."""

    def __init__(self, leg: socket.socket) -> None:
        """Speak at a leg (`sockets.prepare_leg`), which stays the caller's."""
        self._leg = leg
        self._loop = asyncio.get_running_loop()

    async def request(
        self, passwords: Mapping[str, PasswordHash] | None
    ) -> tuple[str | None, SocksRequest]:
        """Return the user, where one had to prove who he is, and what is asked for.

        `passwords` None: no user has to. Raises NotSocks, SocksRefusal, WrongPassword, EOFError,
        and OSError.
        """
        user = None
        if await self._read(socks.read_version()) == 4:
            if passwords is not None:
                raise SocksRefusal(SocksReply.NOT_ALLOWED, 4)
            return None, await self._read(socks.read_request_4())
        offered = await self._read(socks.read_methods())
        wanted = Method.NONE if passwords is None else Method.PASSWORD
        if wanted not in offered:
            self.say(socks.choose(Method.NOT_ACCEPTABLE))
            raise WrongPassword("no-method-in-common")
        self.say(socks.choose(wanted))
        if passwords is not None:
            user = await self._authenticate(passwords)
        return user, await self._read(socks.read_request())

    def say(self, words: bytes) -> None:
        """Send a few bytes; a client that has gone does not hear them."""
        with suppress(OSError):
            self._leg.send(words)

    def refuse(self, version: int, reply: SocksReply) -> None:
        """Answer that there is nothing, and end the connection in order."""
        self.say(socks.answer(version, reply))
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection in order."""
        let_end(self._leg)

    async def _authenticate(self, passwords: Mapping[str, PasswordHash]) -> str:
        """Return the name of a user who has given its password (RFC 1929)."""
        given = await self._read(socks.read_credentials())
        name = given.name.decode("utf-8", "replace")
        async with _judging:
            wanted = passwords.get(name, UNKNOWN_USER)
            is_right = await asyncio.to_thread(wanted.fits, given.password)
        self.say(socks.judge_password(is_right=is_right))
        if not is_right:
            raise WrongPassword("wrong-password", name)
        return name

    async def _read(self, reading: Reading[_Value]) -> _Value:
        try:
            wanted = next(reading)
            while True:
                wanted = reading.send(await self._exactly(wanted))
        except StopIteration as done:
            value: _Value = done.value
            return value

    async def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:  # what is there is read without a future
                more = self._leg.recv(count - len(data))
            except BlockingIOError:
                more = await self._loop.sock_recv(self._leg, count - len(data))
            if not more:
                raise EOFError
            data += more
        return data
