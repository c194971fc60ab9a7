"""The socket of the local API, with a process that says a lot at once."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from sallyport import limits
from sallyport.frontends.api import server as api_server
from sallyport.frontends.api.server import ApiServer, api_socket
from sallyport.testing.world import make_gateway

REQUESTS = 200


def test_a_process_that_asks_for_much_at_once_has_one_answer_a_turn(tmp_path: Path) -> None:
    async def scenario() -> int:
        turns, loop = 0, asyncio.get_running_loop()

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not is_over:
                loop.call_soon(turn)

        is_over = False
        path = str(tmp_path / "api.sock")
        gateway, _, _ = make_gateway()
        with api_socket(path, None) as listener:
            async with asyncio.TaskGroup() as tasks:
                server = ApiServer(gateway, tasks)
                server.serve(listener)
                reader, writer = await asyncio.open_unix_connection(path)
                line = b'{"id":1,"do":"show","binding":"b1"}\n'
                writer.write(line)
                await reader.readline()  # from here on it is only read and answered
                loop.call_soon(turn)
                writer.write(line * REQUESTS)
                for _ in range(REQUESTS):
                    assert b'"not-found"' in await reader.readline()
                is_over = True
                writer.close()
                server.close()
        return turns

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) >= REQUESTS


def test_one_user_leaves_connections_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_API_CONNECTIONS_OF_ONE", 2)
    comers = count()
    # The first four are of one user, the fifth of another.
    monkeypatch.setattr(api_server, "_uid_of", lambda _sock: 1001 + (next(comers) >= 4))

    async def scenario() -> list[bool]:
        path = str(tmp_path / "api.sock")
        gateway, _, _ = make_gateway()
        served = []
        with api_socket(path, None) as listener:
            async with asyncio.TaskGroup() as tasks:
                server = ApiServer(gateway, tasks)
                server.serve(listener)
                writers = []
                for _ in range(5):
                    reader, writer = await asyncio.open_unix_connection(path)
                    writers.append(writer)
                    writer.write(b'{"id":1,"do":"show","binding":"b1"}\n')
                    try:
                        served.append(bool(await reader.readline()))
                    except OSError:  # it was closed before the words came
                        served.append(False)
                for writer in writers:
                    writer.close()
                server.close()
        return served

    served = asyncio.run(asyncio.wait_for(scenario(), 20))

    assert served == [True, True, False, False, True]
