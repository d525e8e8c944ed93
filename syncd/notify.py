"""What systemd wants to be told (sd_notify): a datagram to $NOTIFY_SOCKET; nothing where there is none."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

PATIENCE = 1.0
"""Seconds a service manager that does not read may hold us up."""


def notify(*states: str) -> None:
    """Send states such as "READY=1". A service manager that does not listen is no reason to stop, or to wait."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.settimeout(PATIENCE)
        line.sendto("\n".join(states).encode(), address)


def reloading() -> None:
    """A reload begins; ``READY=1`` ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_seconds() -> float | None:
    """How often the service manager wants to hear from this process, None when it does not."""
    wanted, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not wanted or not wanted.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) / 1e6
