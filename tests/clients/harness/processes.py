"""Starts, signals and measures server processes: only those that this harness started, by recorded pid.

A pid file holds the pid and the process's start time, so that a number that the kernel has given to somebody
else is never signalled.
"""

import os
import signal
import subprocess
from dataclasses import dataclass

from . import metadata

CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_TIMEOUT_S = 60


@dataclass(frozen=True)
class Usage:
    """What a process has used since it began, and what it holds now."""

    cpu_s: float
    resident_bytes: int


def _stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        text = file.read()
    return text[text.rindex(")") + 2 :].split()


def started_at(pid):
    """The kernel's start time of the process in clock ticks; None when there is none (or only a zombie)."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def usage(pid):
    """CPU time (user and system, all threads) and resident memory of one process."""
    fields = _stat(pid)
    return Usage((int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S, int(fields[21]) * PAGE_BYTES)


def children(pid):
    """The direct children of a process."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as file:
            found += [int(child) for child in file.read().split()]
    return found


def start(command, log_path, pid_path, env=None):
    """Starts a server in a session of its own, its output in a file, and records its pid."""
    with open(log_path, "ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    with open(pid_path, "w", encoding="utf-8") as file:
        file.write(f"{child.pid} {started_at(child.pid)}\n")
    return child.pid


def recorded(pid_path):
    """The pid in a pid file, if that very process still runs."""
    try:
        with open(pid_path, encoding="utf-8") as file:
            pid, began = file.read().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started_at(int(pid)) == int(began) else None


def _reap(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def gone(pid):
    _reap(pid)
    return started_at(pid) is None


def stop(pid, signal_number=signal.SIGTERM):
    """Asks a process to end, and kills it when it does not."""
    os.kill(pid, signal_number)
    try:
        metadata.wait_until(f"process {pid} has ended", lambda: gone(pid), STOP_TIMEOUT_S)
    except TimeoutError:
        kill(pid)
        raise


def kill(pid):
    """kill -9, and waits until the kernel has taken the process away."""
    os.kill(pid, signal.SIGKILL)
    metadata.wait_until(f"process {pid} is gone", lambda: gone(pid), STOP_TIMEOUT_S, pause_s=0.001)
