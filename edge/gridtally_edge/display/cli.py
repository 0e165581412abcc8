"""`gridtally-dcu display`: the balance page in a process of its own, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.display.server import DisplayServer
from gridtally_shared.clock import clock_from
from gridtally_shared.errors import GridtallyError

DEFAULT_CONFIG = Path("/etc/gridtally/dcu.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        address = (options.host or config.display_host, options.port or config.display_port)
        server = DisplayServer(address, config.data_dir / "money.db", clock_from(config.virtual_clock_file or None))
    except GridtallyError as error:
        print(f"gridtally-dcu display: {error}", file=sys.stderr)
        return error.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    print(f"balance page on http://{address[0]}:{server.server_address[1]}/", flush=True)
    server.serve_forever()
    server.server_close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu display",
        description="Serve the local page with balance, supply and messages. It works without any uplink.",
        epilog="example: gridtally-dcu display --config dcu.toml --port 8470, then open http://127.0.0.1:8470/",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")
    parser.add_argument("--host", help="address to listen on (display.host of the file; loopback by default)")
    parser.add_argument("--port", type=int, help="port to listen on (display.port of the file)")
    return parser
