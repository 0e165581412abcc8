"""Real MQTT 5 brokers for tests: the embedded one (iotcore) and Debian's Mosquitto 2, each on a free loopback port.

Scenario tests marked `broker` take the `broker` fixture of tests/conftest.py and run on both.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.required import program
from support.waiting import wait_until

KINDS = ("embedded", "mosquitto")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


@dataclass
class Broker:
    """A broker process on loopback that a test may stop, kill and start again on the same port."""

    kind: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return "127.0.0.1"

    def start(self) -> Broker:
        self.process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(self.port), 15, f"{self.kind} broker listens on {self.port}")
        return self

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=5)
            self.process = None

    def kill(self) -> None:
        """As a power cut would: everything the broker remembered is gone."""
        self.stop(signal.SIGKILL)

    def _command(self) -> list[str]:
        if self.kind == "mosquitto":
            config = self.folder / f"mosquitto-{self.port}.conf"
            config.write_text(
                f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_packet_size 1048576\n"
            )
            return [program("mosquitto", "mosquitto"), "-c", str(config)]
        return [sys.executable, "-m", "gridtally_cloud.embedded_broker", "--port", str(self.port)]


@contextlib.contextmanager
def running(kind: str) -> Iterator[Broker]:
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(kind, Path(folder)).start()
        try:
            yield broker
        finally:
            broker.stop()
