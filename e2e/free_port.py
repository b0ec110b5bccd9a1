"""A free loopback port below those that the system gives to outgoing connections: between the choice and the listening,
or while a server is down, none of them can become somebody's own end of a connection. `free_port.py FILE` prints one
that FILE does not name yet, and writes it there."""

import random
import socket
import sys

PORTS = range(10_000, 32_768)


def free_port(given):
    """A port that is free and not in `given`, to which it is added."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given:
            given.add(port)
            return port


if __name__ == "__main__":
    with open(sys.argv[1], "a+") as file:
        file.seek(0)
        print(free_port({int(line) for line in file}), file=file)
    with open(sys.argv[1]) as file:
        print(file.readlines()[-1], end="")
