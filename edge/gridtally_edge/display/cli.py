"""`gridtally-dcu display`: the balance page and the local topic in a process of their own, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from gridtally_edge.config import DEFAULT_CONFIG, load_config
from gridtally_edge.display.server import DisplayServer
from gridtally_edge.display.topic import TopicServer
from gridtally_edge.display.topic_session import ROOT
from gridtally_shared.clock import clock_from
from gridtally_shared.errors import ConfigError, GridtallyError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        host, tls = options.host or config.display_host, _tls(config.display_tls)
        clock = clock_from(config.virtual_clock_file or None)
        page = DisplayServer((host, options.port or config.display_port), config.data_dir / "money.db", clock, tls)
        topic_port = config.display_topic_port if options.topic_port is None else options.topic_port
        topic = TopicServer((host, topic_port), page.door, page.errands, clock, tls) if topic_port else None
    except GridtallyError as error:
        print(f"gridtally-dcu display: {error}", file=sys.stderr)
        return error.exit_code
    _say(page, topic)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=page.shutdown, daemon=True).start())
    if topic is not None:
        threading.Thread(target=topic.serve_forever, name="topic", daemon=True).start()
    page.serve_forever()
    page.server_close()
    if topic is not None:
        topic.shutdown()
        topic.server_close()
    return 0


def _say(page: DisplayServer, topic: TopicServer | None) -> None:
    host, port = page.server_address[:2]
    shown = f"[{host!s}]" if ":" in str(host) else str(host)
    print(f"balance page on http{'s' if page.tls else ''}://{shown}:{port}/", flush=True)
    if topic is not None:
        print(f"local topic on mqtt{'s' if topic.tls else ''}://{shown}:{topic.server_address[1]}/ {ROOT}/<account>", flush=True)
    if page.tls is None and not _is_loopback(str(host)):
        print("without TLS: whoever shares this network can read a PIN on its way; name display.certificate_file and key_file",
              file=sys.stderr, flush=True)  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """TLS 1.2 or later with the files' certificate. Raises ConfigError."""
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        remedy = f"this certificate and its key can not be used ({error}); both are PEM files that belong together"
        raise ConfigError("display.certificate_file", str(files[0]), remedy) from None
    return context


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu display",
        description="Serve the local page with balance, supply and messages, and the same as an MQTT topic for display devices. "
        "Both ask for the consumer's own account number and PIN, and work without any uplink.",
        epilog="example: gridtally-dcu display --config dcu.toml --port 8470 --topic-port 8471, then open http://127.0.0.1:8470/ or "
        "mosquitto_sub -p 8471 -u 101 -P 4711 -t gridtally/account/101",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")
    parser.add_argument("--host", help="address to listen on (display.host of the file; loopback by default)")
    parser.add_argument("--port", type=int, help="port to listen on (display.port of the file)")
    parser.add_argument("--topic-port", type=int, help="port of the local topic (display.topic_port of the file); 0 for none")
    return parser
