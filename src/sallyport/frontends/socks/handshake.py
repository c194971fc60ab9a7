"""What a client says before it gets what it asks for: version, who it is, one request.

The conversation is a generator, and a client that does not keep it waiting costs no task: what has
arrived is read in one go, up to the end of the request and no byte further.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Final

from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import let_end
from sallyport.passwords import UNKNOWN_USER, PasswordHash
from sallyport.wire import socks
from sallyport.wire.socks import Credentials, Method, SocksRefusal, SocksReply, SocksRequest

# A password takes 16 MiB and 50 ms of a processor (sallyport/passwords.py): so many at once leave
# the other processors, and the memory, to others.
_judging: Final = asyncio.Semaphore(2)

# More than a whole handshake takes: 258 bytes of methods, 513 of a user, 262 of a request.
_READ_BYTES: Final = 2048

Asked = tuple[str | None, SocksRequest]
"""The user, where one had to prove who he is, and what is asked for."""

_Conversation = Generator[int | Credentials, bytes | bool, Asked]
"""Yields how many bytes it needs, or a name and a password, for a word on whether they fit."""


class WrongPassword(Exception):
    """A user gave a name and a password that do not belong together, or none where one is due."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = name


class SocksHandshake:
    """One client until its request is whole."""

    def __init__(
        self,
        poller: FairPoller,
        tasks: asyncio.TaskGroup,
        leg: socket.socket,
        passwords: Mapping[str, PasswordHash] | None,
        done: Callable[[Asked | Exception], None],
        *,
        host: str | None = None,
    ) -> None:
        """Speak at a leg (`sockets.prepare_leg`), which stays the caller's.

        `passwords` None: no user has to prove who he is. `done` is called once: with what is asked
        for, or with NotSocks, SocksRefusal, WrongPassword, EOFError, or OSError. `host`: with whose
        other connections it shares a turn.
        """
        self._poller = poller
        self._host = host
        self._tasks = tasks
        self._leg = leg
        self._passwords = passwords
        self._done = done
        self._talk = self._conversation(passwords)
        self._wanted = 0
        self._held = b""
        """What has been read and is too little yet."""
        self._is_listening = False
        self._is_judged = False
        """Whether it waits for a word on a password."""
        self._is_over = False

    def begin(self) -> None:
        """Hear the client; `done` may be called before this returns."""
        first = next(self._talk)
        assert isinstance(first, int)  # noqa: S101 - a client begins with its version
        self._wanted = first
        self._readable(0)  # who is accepted has often spoken already

    def give_up(self) -> None:
        """Hear no more, and do not call `done`. Idempotent."""
        self._is_over = True
        self.hold()
        self._talk.close()

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
        self._poller.forget(self._leg)
        let_end(self._leg)

    # -- reading ------------------------------------------------------------------------------

    def _readable(self, _events: int) -> None:
        if self._is_over:  # what follows a request waits for who is asked
            self.hold()
            return
        end: Asked | Exception | None
        try:
            seen = self._leg.recv(_READ_BYTES, socket.MSG_PEEK)
            end = self._hear(seen) if seen else EOFError()
        except BlockingIOError:
            end = None
        except (OSError, *_REFUSALS) as error:
            end = error
        if end is not None:
            self._is_over = True
            self._done(end)
        elif not self._is_judged:
            self._listen()

    def _hear(self, seen: bytes) -> Asked | None:
        """Go on with what has arrived; it is taken from the socket as far as it is ours."""
        held = len(self._held)
        data, at = self._held + seen, 0
        taken: int | Credentials = self._wanted
        try:
            while isinstance(taken, int) and len(data) - at >= taken:
                piece, at = data[at : at + taken], at + taken
                taken = self._talk.send(piece)
        except StopIteration as end:
            self._leg.recv(at - held)
            asked: Asked = end.value
            return asked
        except _REFUSALS:
            self._leg.recv(at - held)
            raise
        if isinstance(taken, int):
            self._wanted, self._held = taken, data[at:]
            self._leg.recv(len(seen))
        else:
            self._held = b""
            self._leg.recv(at - held)
            self._is_judged = True
            self.hold()
            self._tasks.create_task(self._judge(taken))
        return None

    def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._poller.watch(self._leg, self._readable, client=self._host, events=select.EPOLLIN)

    def hold(self) -> None:
        """Let what the client says from now on lie there."""
        if self._is_listening:
            self._is_listening = False
            self._poller.forget(self._leg)

    async def _judge(self, given: Credentials) -> None:
        """Compare a password off the loop (RFC 1929), and go on."""
        assert self._passwords is not None  # noqa: S101 - else no user is asked for one
        name = given.name.decode("utf-8", "replace")
        async with _judging:
            wanted = self._passwords.get(name, UNKNOWN_USER)
            is_right = await asyncio.to_thread(wanted.fits, given.password)
        if self._is_over:
            return
        self._is_judged = False
        try:
            following = self._talk.send(is_right)
        except WrongPassword as refusal:
            self._is_over = True
            self._done(refusal)
            return
        assert isinstance(following, int)  # noqa: S101 - the request comes next
        self._wanted = following
        self._readable(0)

    def _conversation(self, passwords: Mapping[str, PasswordHash] | None) -> _Conversation:
        user = None
        if (yield from socks.read_version()) == 4:
            if passwords is not None:
                raise SocksRefusal(SocksReply.NOT_ALLOWED, 4)
            return None, (yield from socks.read_request_4())
        offered = yield from socks.read_methods()
        wanted = Method.NONE if passwords is None else Method.PASSWORD
        if wanted not in offered:
            self.say(socks.choose(Method.NOT_ACCEPTABLE))
            raise WrongPassword("no-method-in-common")
        self.say(socks.choose(wanted))
        if passwords is not None:
            given = yield from socks.read_credentials()
            is_right = yield given
            user = given.name.decode("utf-8", "replace")
            self.say(socks.judge_password(is_right=bool(is_right)))
            if not is_right:
                raise WrongPassword("wrong-password", user)
        return user, (yield from socks.read_request())


_REFUSALS: Final = (socks.NotSocks, SocksRefusal, WrongPassword)
