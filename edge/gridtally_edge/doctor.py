"""The edge's checks for `gridtally doctor`: what an installer would look at first, each failure with its remedy.

The configuration is /etc/gridtally/dcu.toml, or the file GRIDTALLY_DCU_CONFIG names. Without one only the installation
itself is checked.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from gridtally_edge.config import EdgeConfig, load_config
from gridtally_shared.doctor import Check, port_check
from gridtally_shared.errors import ConfigError

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 200 * 1024 * 1024
BROKER_TIMEOUT_S = 3.0
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
DEFAULT_CONFIG = "/etc/gridtally/dcu.toml"


def checks() -> list[Check]:
    path = Path(os.environ.get("GRIDTALLY_DCU_CONFIG", DEFAULT_CONFIG))
    return [_python(), _native(), _clock(), *_installation(path)]


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("edge: python", sys.version_info[:2] >= OLDEST_PYTHON, version, "install Python 3.11 or newer")


def _native() -> Check:
    from gridtally_native import BACKEND

    remedy = "works, but slower: install a C compiler and 'pip install' again to build the compiled module"
    return Check("edge: native module", BACKEND == "cython", BACKEND, remedy)


def _clock() -> Check:
    now = datetime.now(UTC)
    message = now.strftime("%Y-%m-%d %H:%M:%SZ")
    return Check("edge: clock", now > EARLIEST, message, "the machine's date is impossible: check the RTC battery and NTP")


def _installation(path: Path) -> Iterator[Check]:
    if not path.exists():
        yield Check("edge: configuration", True, f"no concentrator is set up here ({path} is not there)")
        return
    try:
        config = load_config(path)
    except ConfigError as error:
        yield Check("edge: configuration", False, f"{error.key} = {error.value!r}", error.remedy)
        return
    yield Check("edge: configuration", True, str(path))
    yield _command_key(config)
    yield _disk(config.data_dir)
    yield _broker(config)
    yield port_check("edge: balance page", config.display_host, config.display_port, "display.port")
    for line in config.lines:
        yield _device(line.name, line.device)


def _command_key(config: EdgeConfig) -> Check:
    try:
        config.command_keys()
    except ConfigError as error:
        return Check("edge: command key", False, str(error.value), error.remedy)
    return Check("edge: command key", True, str(config.command_key_file))


def _disk(folder: Path) -> Check:
    if not folder.is_dir():
        return Check("edge: data folder", False, f"{folder} is missing", "run 'gridtally-dcu init'")
    if not os.access(folder, os.W_OK):
        return Check("edge: data folder", False, f"{folder} can not be written", "give it to the user of the service (chown)")
    free = shutil.disk_usage(folder).free
    remedy = "free some space, or move data_dir to a larger disk"
    return Check("edge: data folder", free > FREE_BYTES, f"{folder}, {free // 1024**2} MB free", remedy)


def _broker(config: EdgeConfig) -> Check:
    where = f"{config.broker.host}:{config.broker.port}"
    try:
        socket.create_connection((config.broker.host, config.broker.port), BROKER_TIMEOUT_S).close()
    except OSError as error:
        remedy = "check broker.host, broker.port and the network; readings are kept until it is back"
        return Check("edge: broker", False, f"{where}: {error.strerror or error}", remedy)
    return Check("edge: broker", True, f"{where} answers{'' if config.broker.tls else ' (no TLS)'}")


def _device(name: str, device: str) -> Check:
    title = f"edge: line {name}"
    if "://" in device:
        return Check(title, True, device)
    path = Path(device)
    if not path.exists():
        return Check(title, False, f"{device} is not there", "plug the adapter in, or correct line.device (ls /dev/serial/by-id)")
    allowed = os.access(path, os.R_OK | os.W_OK)
    return Check(title, allowed, device, "add the user of the service to the group of the device (usually dialout)")
