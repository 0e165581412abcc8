"""The embedded MQTT 5 broker (iotcore, rumqttd in a wheel): for the demo and for one-box installations on loopback.

* It can not check client certificates and keeps everything in memory, so it listens on 127.0.0.1 only. Production uses
  Mosquitto 2 or any MQTT 5 cluster (architecture.md section 4).
* Run it as a process of its own: `python -m gridtally_cloud.embedded_broker --port 1883`.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import tempfile
from pathlib import Path

from gridtally_shared.contract.channels import MAX_PAYLOAD_BYTES
from gridtally_shared.errors import ConfigError

_TOML = """id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload}
max_inflight_count = 100
"""

_OVERHEAD_BYTES = 4096


def config_toml(port: int) -> str:
    """The broker's configuration: one MQTT 5 listener on loopback, payloads as large as the contract allows."""
    return _TOML.format(port=port, payload=MAX_PAYLOAD_BYTES + _OVERHEAD_BYTES)


def check_port(port: int) -> None:
    """Raises ConfigError when something else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError("broker.port", port, f"port is taken or not allowed ({error.strerror}); choose another") from None


def run(port: int) -> None:
    """Serve until the process is told to stop. Raises ConfigError for a port that can not be used."""
    try:
        from iotcore.iotcore import IotCoreBroker
    except ImportError:
        raise ConfigError("broker.kind", "embedded", "iotcore is not installed: pip install 'gridtally[demo]'") from None
    check_port(port)
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broker.toml"
        path.write_text(config_toml(port), encoding="utf-8")
        broker = IotCoreBroker(config_path=str(path))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        broker.run_forever()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the embedded MQTT 5 broker on loopback.")
    parser.add_argument("--port", type=int, default=1883)
    arguments = parser.parse_args(argv)
    try:
        run(arguments.port)
    except ConfigError as error:
        print(f"gridtally broker: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
