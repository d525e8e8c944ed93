"""``python -m connectors.memory --socket PATH``: a world in a process of its own, empty until a client fills it.

Prints "ready" once the socket listens. Ends with SIGTERM or SIGINT, or with ``--until-eof`` as soon as whoever holds
the other end of its standard input ends.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path

from connectors.memory.server import Server
from connectors.memory.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m connectors.memory", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--socket", type=Path, required=True, help="path of the Unix socket; must not exist yet")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--start", type=int, help="fix the clock at this many microseconds since 1970")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = Server(World(options.seed, options.start), options.socket)
    threading.Thread(target=server.run, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        print("ready", flush=True)
    if options.until_eof:
        sys.stdin.buffer.read()
    else:
        signal.sigwait(signals)
    server.stop()
    options.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
