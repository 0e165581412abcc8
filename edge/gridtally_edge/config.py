"""The bootstrap configuration: what the agent must know before the cloud can tell it anything. One TOML file.

* The tables below are all there is: name, type, default, unit and a sentence. `--show-config` prints them with the values
  in force; an unknown key, a wrong type or a missing value is a ConfigError that says what to write.
* Paths may be relative to the file's folder. Everything else of the installation (meters of the cloud, accounts, tariffs)
  comes as signed configuration; meters found on the lines are in the registry (registry.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridtally_edge.journal.readings import KEEP_EVENTS_DAYS, LEAST_EVENTS_DAYS
from gridtally_edge.sync.mqtt import BrokerAddress, Tls
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.settings import Echo, LineSettings, Rs485, Speed
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_shared.signing import KeySigner

DEFAULT_CONFIG = Path("/etc/gridtally/dcu.toml")
REQUIRED = object()
KEEP_JOURNAL_DAYS, LEAST_JOURNAL_DAYS = 90, 45
CONFIG_NAME = "dcu.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """`default` REQUIRED means that the file must name it."""

    name: str
    kind: type
    default: Any
    unit: str
    sentence: str


SETTINGS: tuple[Setting, ...] = (
    Setting("dcu", str, REQUIRED, "", "Name of this concentrator: the CN of its certificate and its place in every topic."),
    Setting("data_dir", str, "data", "path", "Folder of the stores readings.db and money.db, the registry and status.json."),
    Setting("command_key_file", str, "command-key.pub", "path", "Public Ed25519 key of the cloud, 32 bytes or 64 hex digits."),
    Setting("journal_key_file", str, "", "path", "Private Ed25519 key that signs journal checkpoints; empty for none."),
    Setting("checkpoint_entries", int, 500, "", "A checkpoint of an account's journal is made after so many entries."),
    Setting("checkpoint_hours", int, 24, "h", "And at least this often while there are new entries."),
    Setting(
        "keep_journal_days",
        int,
        KEEP_JOURNAL_DAYS,
        "days",
        f"Entries of the journals the cloud has countersigned are let go after so many days; at least {LEAST_JOURNAL_DAYS}.",
    ),
    Setting("virtual_clock_file", str, "", "path", "Shared virtual clock of a demonstration; empty for the machine's own time."),
    Setting("drivers_dir", str, "drivers", "path", "Folder of meter profiles of your own, one .toml file each; it need not exist."),
    Setting("log_level", str, "info", "", "debug, info, warning or error."),
    Setting("keep_events_days", int, KEEP_EVENTS_DAYS, "days", f"How long events are kept here; at least {LEAST_EVENTS_DAYS}."),
    Setting("broker.host", str, "127.0.0.1", "", "Name or address of the MQTT 5 broker."),
    Setting("broker.port", int, 8883, "", "Port of the broker."),
    Setting("broker.ca_file", str, "", "path", "CA of the broker's certificate; empty for a connection without TLS on loopback."),
    Setting("broker.certificate_file", str, "", "path", "This concentrator's certificate."),
    Setting("broker.key_file", str, "", "path", "Its private key."),
    Setting("display.host", str, "127.0.0.1", "", "Address the local display page listens on."),
    Setting("display.port", int, 8470, "", "Port of the local display page."),
    Setting("display.topic_port", int, 0, "", "Port of the local MQTT topic for consumers' display devices; 0 for none."),
    Setting("display.certificate_file", str, "", "path", "Certificate of page and topic, PEM with its chain; empty for no TLS."),
    Setting("display.key_file", str, "", "path", "Private key of that certificate."),
)

LINE_SETTINGS: tuple[Setting, ...] = (
    Setting("name", str, REQUIRED, "", "Short name of the line, used in the registry and in messages."),
    Setting(
        "device",
        str,
        REQUIRED,
        "",
        "Serial device, best below /dev/serial/by-id/, or tcp://host:port, modbus-tcp://host:port, "
        "udp:// or ip:// (meters with addresses of their own), modem:///dev/... (coordinator of a mesh).",
    ),
    Setting("baud", int, 9600, "bit/s", "Speed of the line; a meter's own speed may differ."),
    Setting("data_bits", int, 8, "", "7 or 8."),
    Setting("parity", str, "N", "", "N, E or O."),
    Setting("stop_bits", int, 1, "", "1 or 2."),
    Setting("echo", str, "auto", "", "Whether the adapter hears its own request: auto, on or off."),
    Setting("gap_ms", float, 0.0, "ms", "Silence before each request; 0 keeps 3.5 characters."),
    Setting("change_gap_ms", float, 0.0, "ms", "Silence before another device is addressed; 0 takes twice that of a request."),
    Setting("rs485", str, "none", "", "Who turns an RS-485 driver round: none (the adapter), auto, kernel or rts."),
    Setting("receive_timeout_s", float, 4.5, "s", "Longest pause within a push or telegram nobody asked for."),
    Setting("in_flight", int, 3, "", "IP and coordinators: meters spoken to at once; 1 to 3 on powerline and radio."),
    Setting("hop_ms", int, 500, "ms", "IP and coordinators: added to every time-out for each hop to the meter."),
    Setting("idle_s", float, 60.0, "s", "IP: an unused TCP connection is closed after this time."),
    Setting("push_port", int, 0, "", "IP: UDP and TCP port for what meters send unasked, 4059 for DLMS; 0 for none."),
    Setting("push_host", str, "::", "", "IP: address that port is opened on; :: for all of them."),
    Setting("push_per_s", int, 10, "1/s", "IP and coordinators: unasked messages taken from one source."),
    Setting("codec", str, "framed", "", "Coordinators: how the modem speaks, framed or at."),
    Setting("mtu", int, 0, "bytes", "Coordinators: largest payload of one message; 0 asks the modem."),
    Setting("white_list", bool, True, "", "Coordinators: nodes wait until 'gridtally-dcu nodes allow' lets them in."),
)
NETWORK_SETTINGS = ("in_flight", "hop_ms", "idle_s", "push_port", "push_host", "push_per_s", "codec", "mtu", "white_list")


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The checked configuration. Paths are absolute."""

    dcu: str
    data_dir: Path
    command_key_file: Path
    virtual_clock_file: str
    log_level: str
    keep_events_days: int
    broker: BrokerAddress
    display_host: str
    display_port: int
    lines: tuple[LineSettings, ...]
    drivers_dir: Path | None = None
    journal_key_file: Path | None = None
    checkpoint_entries: int = 500
    checkpoint_hours: int = 24
    keep_journal_days: int = KEEP_JOURNAL_DAYS
    display_topic_port: int = 0
    display_tls: tuple[Path, Path] | None = None

    @property
    def status_file(self) -> Path:
        return self.data_dir / "status.json"

    @property
    def registry_file(self) -> Path:
        return self.data_dir / "registry.json"

    def command_keys(self) -> dict[bytes, bytes]:
        """Key id -> public key of whoever may sign for this DCU. Raises ConfigError."""
        from gridtally_shared.signing import key_id_of

        public = read_public_key(self.command_key_file)
        return {key_id_of(public): public}


    def journal_signer(self) -> KeySigner | None:
        """Who signs the checkpoints of the journals. Raises ConfigError."""
        from gridtally_shared.signing import KeySigner

        path = self.journal_key_file
        try:
            return None if path is None else KeySigner.from_seed(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError("journal_key_file", str(path), f"{error}; `gridtally-dcu enrol` makes it") from None


def load_config(path: Path) -> EdgeConfig:
    """Read and check the file. Raises ConfigError."""
    raw = _read_toml(path)
    lines = raw.pop("line", [])
    values = _checked(_flattened(raw), SETTINGS, "")
    base = path.resolve().parent
    return EdgeConfig(
        dcu=_topic_name(values["dcu"]),
        data_dir=base / values["data_dir"],
        command_key_file=base / values["command_key_file"],
        virtual_clock_file=str(base / values["virtual_clock_file"]) if values["virtual_clock_file"] else "",
        log_level=_one_of("log_level", values["log_level"], ("debug", "info", "warning", "error")),
        keep_events_days=_at_least("keep_events_days", values["keep_events_days"], LEAST_EVENTS_DAYS),
        broker=_broker(values, base),
        display_host=values["display.host"],
        display_port=_port("display.port", values["display.port"]),
        lines=tuple(_lines(lines, base)),
        drivers_dir=base / values["drivers_dir"],
        journal_key_file=base / values["journal_key_file"] if values["journal_key_file"] else None,
        checkpoint_entries=_at_least("checkpoint_entries", values["checkpoint_entries"], 1),
        checkpoint_hours=_at_least("checkpoint_hours", values["checkpoint_hours"], 1),
        keep_journal_days=_at_least("keep_journal_days", values["keep_journal_days"], LEAST_JOURNAL_DAYS),
        display_topic_port=_port("display.topic_port", values["display.topic_port"]) if values["display.topic_port"] else 0,
        display_tls=_display_tls(values, base),
    )


def describe(path: Path) -> Iterator[tuple[str, Any, str, str, str]]:
    """Rows of (name, value in force, unit, 'set' or 'default', sentence) for --show-config."""
    load_config(path)
    raw = _read_toml(path)
    lines = raw.pop("line", [])
    given = _flattened(raw)
    for setting in SETTINGS:
        yield _row(setting.name, setting, given)
    for number, line in enumerate(lines):
        for setting in LINE_SETTINGS:
            yield _row(f"line[{number}].{setting.name}", setting, line)


def read_public_key(path: Path) -> bytes:
    """32 bytes, raw or as hexadecimal digits. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        remedy = f"{error.strerror}; copy the cloud's public command key there (gridtally-mdm prints its place)"
        raise ConfigError("command_key_file", str(path), remedy) from None
    if len(data) == 32:
        return data
    try:
        key = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError("command_key_file", str(path), "the file must hold an Ed25519 public key: 32 bytes or 64 hex digits")
    return key


def _row(name: str, setting: Setting, given: Mapping[str, Any]) -> tuple[str, Any, str, str, str]:
    origin = "set" if setting.name in given else "default"
    return name, given.get(setting.name, setting.default), setting.unit, origin, setting.sentence


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("--config", str(path), f"{error.strerror}; 'gridtally-dcu init --help' shows how to make one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", str(path), f"this is not a TOML file: {error}") from None


def _flattened(raw: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            flat[key] = value
    return flat


def _checked(given: Mapping[str, Any], settings: tuple[Setting, ...], prefix: str) -> dict[str, Any]:
    known = {s.name for s in settings}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(prefix + key, value, f"there is no such setting; known are {', '.join(sorted(known))}")
    return {s.name: _value(s, given, prefix) for s in settings}


def _value(setting: Setting, given: Mapping[str, Any], prefix: str) -> Any:
    if setting.name not in given:
        if setting.default is REQUIRED:
            raise ConfigError(prefix + setting.name, None, f"it is missing. {setting.sentence}")
        return setting.default
    value = given[setting.name]
    if setting.kind is float and type(value) is int:
        return float(value)
    if type(value) is not setting.kind:
        names = {str: 'text in quotes "..."', int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(prefix + setting.name, value, f"write {names[setting.kind]}. {setting.sentence}")
    return value


def _broker(values: Mapping[str, Any], base: Path) -> BrokerAddress:
    files = {key: values[f"broker.{key}"] for key in ("ca_file", "certificate_file", "key_file")}
    port = _port("broker.port", values["broker.port"])
    if not any(files.values()):
        return BrokerAddress(values["broker.host"], port)
    for key, value in files.items():
        if not value:
            raise ConfigError(f"broker.{key}", value, "TLS needs all three files: ca_file, certificate_file and key_file")
    return BrokerAddress(values["broker.host"], port, Tls(*(base / value for value in files.values())))


def _display_tls(values: Mapping[str, Any], base: Path) -> tuple[Path, Path] | None:
    """Certificate and key, both or none."""
    files = tuple(values[f"display.{name}"] for name in ("certificate_file", "key_file"))
    if not any(files):
        return None
    for name, value in zip(("certificate_file", "key_file"), files, strict=True):
        if not value:
            raise ConfigError(f"display.{name}", value, "TLS needs both files: certificate_file and key_file")
    return base / files[0], base / files[1]


def _lines(rows: Any, base: Path) -> Iterator[LineSettings]:
    if not isinstance(rows, list):
        raise ConfigError("line", rows, "write each line as a table [[line]]")
    seen: set[str] = set()
    for number, row in enumerate(rows):
        values = _checked(row, LINE_SETTINGS, f"line[{number}].")
        if values["name"] in seen:
            raise ConfigError(f"line[{number}].name", values["name"], "two lines have this name; give each its own")
        seen.add(values["name"])
        yield _line_settings(values, base)


def _line_settings(values: Mapping[str, Any], base: Path) -> LineSettings:
    """A line from checked values of LINE_SETTINGS; a device's path may be relative to `base`. Raises ConfigError."""
    echo = _one_of("line.echo", values["echo"], tuple(e.value for e in Echo))
    speed = Speed(values["baud"], values["data_bits"], values["parity"], values["stop_bits"])
    device = values["device"] if "://" in values["device"] else str(base / values["device"])
    network = NetworkSettings(**{key: values[key] for key in NETWORK_SETTINGS})
    rs485 = Rs485(_one_of("line.rs485", values["rs485"], tuple(r.value for r in Rs485)))
    return LineSettings(
        values["name"], device, speed, Echo(echo), values["gap_ms"], rs485=rs485, change_gap_ms=values["change_gap_ms"],
        receive_timeout_s=values["receive_timeout_s"], network=network,
    )  # fmt: skip


def _topic_name(value: str) -> str:
    if not value or any(c in value for c in "/+#$ "):
        raise ConfigError("dcu", value, "use letters, digits, '-' and '_' only, for example dcu-1")
    return value


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(key, value, f"write one of {', '.join(allowed)}")
    return value


def _at_least(key: str, value: int, least: int) -> int:
    if value < least:
        raise ConfigError(key, value, f"write at least {least}")
    return value


def _port(key: str, value: int) -> int:
    if not 0 < value < 65_536:
        raise ConfigError(key, value, "write a port number from 1 to 65535")
    return value
