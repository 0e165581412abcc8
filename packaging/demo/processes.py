"""The demo's processes: started with a log file each, watched, and ended with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

_PATIENCE_S = 10.0
_pause = Event()


class DemoFailed(Exception):
    """Something the demo needs did not come up; the message says what and where its log is."""


def tool(name: str) -> str:
    """A console command of this environment, beside the running interpreter."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.3):
        return True
    return False


def wait_for(condition: Callable[[], object], within_s: float, about: str | Callable[[], str]) -> None:
    """Poll until true; DemoFailed names what did not happen, `about` as it is by then."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{about if isinstance(about, str) else about()}: not within {within_s:.0f} s")
        _pause.wait(0.05)


@dataclass
class Processes:
    """All children of the demo. `stop` ends them in reverse order; a child that ignores SIGTERM is killed."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.running[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=env
        )

    def run(self, name: str, *command: str) -> str:
        """Run to the end; its standard output. DemoFailed with the last lines when it fails."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"{name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout

    def check(self) -> None:
        """DemoFailed when a child has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise DemoFailed(f"{name} ended with {process.returncode}: {self.tail(name)}")

    def tail(self, name: str, lines: int = 12) -> str:
        path = self.folder / f"{name}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or f"(nothing in {path})"

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE_S
        for process in reversed(self.running.values()):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
        self.running.clear()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the child's whole session, so that what it started ends too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
