"""The edge's checks for `gridtally doctor`: what an installer would look at first, each failure with its remedy.

The configuration is /etc/gridtally/dcu.toml, or the file GRIDTALLY_DCU_CONFIG names. Without one only the installation
itself is checked.

* Nothing is sent on a line: it belongs to the agent. Who answers is read from what a running agent writes (status.json).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gridtally_edge.config import DEFAULT_CONFIG, EdgeConfig, load_config
from gridtally_edge.drivers.registry import SUFFIX, driver_named
from gridtally_edge.fitting import fit
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.transports.port_names import advice_on_name, holder_of
from gridtally_shared.doctor import Check, port_check
from gridtally_shared.errors import ConfigError

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 200 * 1024 * 1024
BROKER_TIMEOUT_S = 3.0
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
MODEM = "modem://"


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
    yield from _private_files(config)
    status = _agent_status(config.status_file)
    for line in config.lines:
        yield _device(line.name, line.device, int(status.get("pid", 0)))
    yield from _drivers_dir(config.drivers_dir)
    yield from _meters(config, status)


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


def _private_files(config: EdgeConfig) -> Iterator[Check]:
    """Keys, and the registry with the meters' passwords: ours to read, nobody else's."""
    tls = config.broker.tls
    made = {path for path in (config.registry_file, *config.data_dir.rglob("*.key")) if path.exists()}
    for path in sorted(made | ({tls.key_file} if tls else set())):
        yield _private(path)


def _private(path: Path) -> Check:
    title = f"edge: secret {path.name}"
    if not path.exists():
        return Check(title, False, f"{path} is missing", "correct broker.key_file, or enrol this concentrator again")
    if not os.access(path, os.R_OK):
        return Check(title, False, f"{path} can not be read", "give it to the user of the service (chown)")
    open_to_others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return Check(title, not open_to_others, f"{path}{', others may open it' if open_to_others else ''}", f"chmod 600 {path}")


def _drivers_dir(folder: Path | None) -> Iterator[Check]:
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder else ():
        title, remedy = f"edge: driver {path.stem}", f"correct it; 'gridtally-dcu drivers --check {path}' shows every fault"
        try:
            driver_named(str(path))
        except ConfigError as error:
            yield Check(title, False, f"{path}: {error.remedy}", remedy)
        else:
            yield Check(title, True, str(path))


def _device(name: str, device: str, agent: int) -> Check:
    """`agent` is the process that may have the port open: ours."""
    title = f"edge: line {name}"
    if "://" in device and not device.startswith(MODEM):
        return Check(title, True, device)
    path = Path(device.removeprefix(MODEM))
    if not path.exists():
        return Check(title, False, f"{device} is not there", "plug the adapter in, or correct line.device (ls /dev/serial/by-id)")
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = "add the user of the service to the group of the device (usually dialout)"
        return Check(title, False, f"{device} may not be opened by this user", remedy)
    holder = holder_of(str(path))
    if holder and f"(process {agent})" not in holder:
        return Check(title, False, f"{device} is open in {holder}", "stop it: a line belongs to one program")
    return Check(title, True, advice_on_name(str(path)) or device)


def _meters(config: EdgeConfig, status: Mapping[str, Any]) -> Iterator[Check]:
    """Every meter of the registry fits its driver, hangs on a line that is there, and its switch answers."""
    try:
        registry = Registry(config.registry_file)
        meters, lines = registry.meters(), {line.name for line in config.lines}
    except ConfigError as error:
        yield Check("edge: registry", False, str(error.value), error.remedy)
        return
    silent = {row["name"]: row["silent"] for row in status.get("lines", ())}
    for meter in meters:
        if meter.line not in lines:
            remedy = f"add a [[line]] of that name, or 'gridtally-dcu meter remove {meter.key}'"
            yield Check(f"edge: meter {meter.key}", False, f"there is no line {meter.line}", remedy)
            continue
        try:
            fit(meter, config.drivers_dir)
        except ConfigError as error:
            yield Check(f"edge: meter {meter.key}", False, f"{error.key} = {error.value!r}", error.remedy)
            continue
        if meter.switch:
            yield _switch(meter, silent.get(meter.line))


def _switch(meter: MeterEntry, silent: Sequence[str] | None) -> Check:
    """`silent` is who does not answer on its line, as a running agent tells; None while none runs."""
    from gridtally_edge.switches.fitted import BoardWords, board_name, parsed

    title, (carrier, _) = f"edge: switch of {meter.key}", parsed(meter.switch)
    if not isinstance(carrier, BoardWords):
        there = os.access(carrier.chip, os.R_OK | os.W_OK)
        remedy = "correct chip=, or add the user of the service to the group of the device (usually gpio)"
        return Check(title, there, carrier.chip if there else f"{carrier.chip} can not be opened", remedy)
    name = board_name(carrier)
    if silent is None:
        return Check(title, True, f"{name} on {meter.line}; whether it answers is seen once the agent runs")
    remedy = f"check power, wiring and unit of {name}; readings go on, but the supply can not be switched"
    return Check(title, name not in silent, f"{name} on {meter.line} {'does not answer' if name in silent else 'answers'}", remedy)


def _agent_status(path: Path) -> Mapping[str, Any]:
    """What a running agent last wrote; empty when none runs."""
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        os.kill(int(status["pid"]), 0)
    except PermissionError:  # it runs as somebody else
        return status
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return status
