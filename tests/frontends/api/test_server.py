"""The socket of the local API, with a process that says a lot at once."""

import asyncio
from pathlib import Path

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
