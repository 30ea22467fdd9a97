"""A program as a whole process: wall time, CPU time of all its processes, peak memory."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_SECONDS = 0.02
_LOG_LINES = 15
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
#: How long to wait for what a program left running.
_ORPHAN_SECONDS = 10.0


class ProgramFailed(Exception):  # noqa: N818
    """A program that was to be measured ended with an error; the message ends with its output."""


@dataclass(frozen=True)
class Usage:
    """What a program took, from before its start until it had ended.

    Attributes:
        seconds: wall time.
        cpu_seconds: user and system time of it and of all its children, on Linux also of those
            that outlived it (Dagster's fork server does, by a moment).
        peak_mib: peak resident memory of its first process; 0 where there is no /proc.
        server_cpu_seconds: what the store's server took meanwhile.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    server_cpu_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """One after the other."""
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_mib, other.peak_mib),
            self.server_cpu_seconds + other.server_cpu_seconds,
        )


def clean_up_on_sigterm() -> None:
    """End as after Ctrl-C: servers are stopped, and what they stored is deleted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def run(command: list[str], env: dict[str, str], *, log: Path, cwd: Path | None = None) -> Usage:
    """Run a program to its end; its output goes to the file `log`.

    Raises:
        ProgramFailed: its exit code was not 0.
    """
    _become_subreaper()
    before = _children()
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        peak = _PeakMemory(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    peak_mib = peak.stop()
    cpu_seconds = usage.ru_utime + usage.ru_stime + _cpu_of_orphans(before)
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-_LOG_LINES:]
        what = f"{Path(command[0]).name} ended with exit code {process.returncode}:"
        raise ProgramFailed("\n".join([what, *last]))
    return Usage(seconds, cpu_seconds, peak_mib)


def _become_subreaper() -> None:
    """Let what a program leaves running become a child of this process, which can wait for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _cpu_of_orphans(before: set[int]) -> float:
    """CPU time of what a program that has ended left running, once that has ended as well."""
    cpu_seconds = 0.0
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while (orphans := _children() - before) and time.monotonic() < deadline:
        for pid in orphans:
            done, _, usage = os.wait4(pid, os.WNOHANG)
            if done:
                cpu_seconds += usage.ru_utime + usage.ru_stime
        time.sleep(_POLL_SECONDS)
    return cpu_seconds


class _PeakMemory:
    """Asks the system every few milliseconds for the peak memory of a process.

    Not ru_maxrss: Linux counts in it what the process that started this one held at that moment.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak_mib = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The peak, in MiB."""
        self._ended.set()
        self._thread.join()
        return self._peak_mib

    def _poll(self) -> None:
        while not self._ended.is_set():
            try:
                lines = self._status.read_text().splitlines()
            except OSError:  # no /proc here, or the process is gone
                return
            for line in lines:
                if line.startswith("VmHWM:"):  # a process that has ended has none
                    self._peak_mib = max(self._peak_mib, int(line.split()[1]) / 1024)
            self._ended.wait(_POLL_SECONDS)
