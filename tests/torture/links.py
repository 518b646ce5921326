"""TCP between two processes that a test can cut, slow down and break, and tell whom it leads to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

CHUNK_BYTES = 65536


class Link:
    """From `url` to the first of some ports that takes the connection, beginning with the next one
    each time, as a balancer does it."""

    def __init__(self, *ports: int) -> None:
        self._ports, self._turn = ports, 0
        self._is_refused, self._delay = False, 0.0
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Connections stay open, and no byte moves."""
        self._do(self._flows.clear)

    def delay(self, seconds: float) -> None:
        """Each piece comes so much later."""

        def slow() -> None:
            self._delay = seconds

        self._do(slow)

    def refuse(self) -> None:
        """All connections are reset, and so is each new one."""

        def end() -> None:
            self._is_refused = True
            self._reset_all()

        self._do(end)

    def mend(self) -> None:
        def mended() -> None:
            self._is_refused, self._delay = False, 0.0
            self._flows.set()

        self._do(mended)

    def close(self) -> None:
        self.refuse()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], None]) -> None:
        async def done() -> None:
            what()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def _reset_all(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        self._flows.set()
        # Each connection has been reset, which ends its task.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(3):  # what was reset is closed by the loop's next rounds
            await asyncio.sleep(0)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = None if self._is_refused else await self._reach()
        both = {writer} if found is None else {writer, found[1]}
        if found is None or self._is_refused:
            for one in both:
                one.transport.abort()
            return
        there, thither = found
        self._connections |= both
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(reader, thither))
                ways.create_task(self._carry(there, writer))
        except* OSError:
            # What was reset on one side is on the other: it must not look like its end.
            for one in both:
                one.transport.abort()
        finally:
            self._connections -= both
            for one in both:
                one.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        for number in range(len(self._ports)):
            port = self._ports[(self._turn + number) % len(self._ports)]
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flows.wait()
            sink.write(data)
            await sink.drain()
        await self._flows.wait()
        with suppress(OSError):
            sink.write_eof()
