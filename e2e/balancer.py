"""A TCP balancer: balancer.py PORT HOST:PORT... gives each connection to the next server that takes one."""

import asyncio
import itertools
import sys

port, backends = int(sys.argv[1]), [backend.rsplit(":", 1) for backend in sys.argv[2:]]
turns = itertools.cycle(range(len(backends)))


async def connect():
    """Returns a connection to the server whose turn it is, or to the next that is there."""
    first = next(turns)
    for host, backend in backends[first:] + backends[:first]:
        try:
            return await asyncio.open_connection(host, int(backend))
        except OSError:
            continue
    return None


async def copy(reader, writer):
    """Copies until either side ends, and ends the other."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def accept(reader, writer):
    """Joins a client with a server."""
    server = await connect()
    if server is None:
        writer.close()
        return
    await asyncio.gather(copy(reader, server[1]), copy(server[0], writer))


async def main():
    """Serves for ever."""
    async with await asyncio.start_server(accept, "127.0.0.1", port) as server:
        await server.serve_forever()


asyncio.run(main())
