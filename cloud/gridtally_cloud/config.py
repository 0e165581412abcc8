"""The configuration of the MDM: one TOML file, checked against the table below.

* `--show-config` prints every setting with the value in force; an unknown key, a wrong type or a bad value is a
  ConfigError of one line that says what to write.
* Paths may be relative to the file's folder. Secrets stand in files of their own, made at the first start.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gridtally_cloud.retention.rules import RULES, checked
from gridtally_cloud.store.days import zone_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

CONFIG_NAME = "mdm.toml"
LEVELS = ("debug", "info", "warning", "error")
TRANSPORTS = ("mtls", "loopback-plain")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the configuration. `kind` is the type a TOML file must give."""

    name: str
    kind: type
    default: Any
    unit: str
    sentence: str


SETTINGS: tuple[Setting, ...] = (
    Setting("data_dir", str, "data", "path", "Folder of the embedded store, the keys and the CA."),
    Setting("store.url", str, "", "URL", "Database; empty for the file mdm.db in data_dir. postgresql+psycopg://... otherwise."),
    Setting("virtual_clock_file", str, "", "path", "Shared virtual clock of a demonstration; empty for the machine's own time."),
    Setting("log_level", str, "info", "", "debug, info, warning or error."),
    Setting("zone", str, "UTC", "", "Time zone of staff pages and of new usage points."),
    Setting("broker.host", str, "127.0.0.1", "", "Name or address of the MQTT 5 broker."),
    Setting("broker.port", int, 1883, "", "Port of the broker."),
    Setting("broker.client_id", str, "", "", "Client id of the worker; empty for one made from host and process."),
    Setting("broker.group", str, "mdm", "", "Workers of the same group share the messages among them."),
    Setting("broker.ca_file", str, "", "path", "CA of the broker's certificate; empty for a connection without TLS on loopback."),
    Setting("broker.certificate_file", str, "", "path", "Certificate of the worker at the broker."),
    Setting("broker.key_file", str, "", "path", "Its private key."),
    Setting("web.host", str, "127.0.0.1", "", "Address the web pages listen on."),
    Setting("web.port", int, 8000, "", "Port of the web pages."),
    Setting("web.threads", int, 6, "", "Requests answered at the same time."),
    Setting("web.https", bool, False, "", "Whether a proxy serves the pages over HTTPS: Secure cookies and HSTS."),
    Setting("web.consumers_change_mode", bool, False, "", "Whether a consumer may ask for bills or prepayment himself."),
    Setting("payments.gateway", str, "", "", "Payment gateway: empty for none, 'test' for the built-in one without real money."),
    Setting("payments.minimum_covers_reconnection", bool, False, "", "Whether who is cut must pay at least what brings the supply back."),
    Setting("billing.month_end_day", int, 3, "", "Day (1 to 28) on which the end of the month before begins in the books; 0: by hand."),
    Setting("messages.email", str, "file", "", "Who carries e-mail to consumers: smtp, file (a file for another program), or empty."),
    Setting("messages.sms", str, "file", "", "Who carries SMS: file (a file for another program), or empty for nobody."),
    Setting("messages.file", str, "messages.ndjson", "path", "That file, one JSON object a line; relative to data_dir."),
    Setting("messages.smtp_host", str, "", "", "Mail server for e-mail to consumers."),
    Setting("messages.smtp_port", int, 587, "", "Its port."),
    Setting("messages.smtp_starttls", bool, True, "", "Whether the connection to it is encrypted; off only for a server on this machine."),
    Setting("messages.smtp_from", str, "", "", "Address the mail comes from, such as bills@utility.example."),
    Setting("messages.smtp_user", str, "", "", "Login at the mail server; empty for none."),
    Setting("messages.smtp_password_file", str, "", "path", "File with its password."),
    Setting("exchange.in_dir", str, "", "path", "Watched folder: files of interval data put there are taken in; empty for none."),
    Setting("exchange.still_s", int, 10, "s", "How long a file there must be left alone before it is complete."),
    Setting("readings.ask_missing", bool, False, "", "Whether meters are asked for what is still missing a day later, by itself."),
    Setting("provisioner.enabled", bool, True, "", "Whether 'all' starts the provisioner, which holds the CA, as a child."),
    Setting("provisioner.host", str, "", "", "Broker as an enrolled DCU reaches it; empty for broker.host."),
    Setting("provisioner.port", int, 0, "", "Its port; 0 for broker.port."),
    Setting("provisioner.transport", str, "loopback-plain", "", "How a DCU connects: mtls, or loopback-plain on one box."),
    Setting("provisioner.control", bool, False, "", "Whether the broker has dynamic security for the provisioner to order."),
    Setting("provisioner.certificate_file", str, "", "path", "Certificate of the provisioner at the broker."),
    Setting("provisioner.key_file", str, "", "path", "Its private key."),
    *(Setting(rule.setting, int, rule.days, "days", rule.sentence) for rule in RULES),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    host: str
    port: int
    client_id: str
    group: str
    ca_file: str
    certificate_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class WebConfig:
    host: str
    port: int
    threads: int
    https: bool
    consumers_change_mode: bool


@dataclass(frozen=True, slots=True)
class MessagesConfig:
    """How messages leave the house; `file` and `smtp_password_file` are absolute or empty."""

    email: str
    sms: str
    file: Path
    smtp_host: str
    smtp_port: int
    smtp_starttls: bool
    smtp_from: str
    smtp_user: str
    smtp_password_file: str


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """`in_dir` is absolute, or empty."""

    in_dir: str
    still_s: int


@dataclass(frozen=True, slots=True)
class ProvisionerConfig:
    enabled: bool
    host: str
    port: int
    transport: str
    control: bool
    certificate_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The checked configuration. Paths are absolute."""

    file: Path
    data_dir: Path
    store_url: str
    virtual_clock_file: str
    log_level: str
    zone: str
    broker: BrokerConfig
    web: WebConfig
    payments_gateway: str
    payments_minimum_covers_reconnection: bool
    readings_ask_missing: bool
    month_end_day: int
    messages: MessagesConfig
    exchange: ExchangeConfig
    provisioner: ProvisionerConfig
    retention: Mapping[str, int]

    @property
    def command_key_file(self) -> Path:
        return self.data_dir / "command.key"

    @property
    def web_key_file(self) -> Path:
        return self.data_dir / "web.key"

    @property
    def webhook_secret_file(self) -> Path:
        return self.data_dir / "webhook.secret"

    @property
    def ca_dir(self) -> Path:
        return self.data_dir / "ca"


def load_config(path: Path) -> CloudConfig:
    """Read and check the file. Raises ConfigError."""
    v = _values(path)
    base = path.resolve().parent
    data_dir = base / v["data_dir"]
    return CloudConfig(
        file=path.resolve(),
        data_dir=data_dir,
        store_url=v["store.url"] or f"sqlite:///{data_dir / 'mdm.db'}",
        virtual_clock_file=_path(base, v["virtual_clock_file"]),
        log_level=_one_of("log_level", v["log_level"], LEVELS),
        zone=zone_of(v["zone"]).key,
        broker=_broker(v, base),
        web=WebConfig(v["web.host"], _port("web.port", v["web.port"]), v["web.threads"], v["web.https"],
                      v["web.consumers_change_mode"]),
        payments_gateway=v["payments.gateway"],
        payments_minimum_covers_reconnection=v["payments.minimum_covers_reconnection"],
        readings_ask_missing=v["readings.ask_missing"],
        month_end_day=_day_of_month("billing.month_end_day", v["billing.month_end_day"]),
        messages=_messages(v, base, data_dir),
        exchange=_exchange(v, base),
        provisioner=_provisioner(v, base),
        retention=checked({rule.name: v[rule.setting] for rule in RULES}),
    )


def _broker(v: Mapping[str, Any], base: Path) -> BrokerConfig:
    certificate, key = _path(base, v["broker.certificate_file"]), _path(base, v["broker.key_file"])
    if bool(certificate) != bool(key):
        raise ConfigError("broker.key_file", v["broker.key_file"], "certificate and key go together: name both or neither")
    if certificate and not v["broker.ca_file"]:
        raise ConfigError("broker.ca_file", "", "a client certificate needs TLS: name the CA of the broker")
    return BrokerConfig(v["broker.host"], _port("broker.port", v["broker.port"]), v["broker.client_id"], v["broker.group"],
                        _path(base, v["broker.ca_file"]), certificate, key)  # fmt: skip


def _messages(v: Mapping[str, Any], base: Path, data_dir: Path) -> MessagesConfig:
    return MessagesConfig(
        _one_of("messages.email", v["messages.email"], ("", "file", "smtp")), _one_of("messages.sms", v["messages.sms"], ("", "file")),
        data_dir / v["messages.file"], v["messages.smtp_host"], _port("messages.smtp_port", v["messages.smtp_port"]),
        v["messages.smtp_starttls"], v["messages.smtp_from"], v["messages.smtp_user"], _path(base, v["messages.smtp_password_file"]),
    )  # fmt: skip


def _exchange(v: Mapping[str, Any], base: Path) -> ExchangeConfig:
    still_s = v["exchange.still_s"]
    if not 1 <= still_s <= 86_400:
        raise ConfigError("exchange.still_s", still_s, "write seconds from 1 to 86400")
    return ExchangeConfig(_path(base, v["exchange.in_dir"]), still_s)


def _provisioner(v: Mapping[str, Any], base: Path) -> ProvisionerConfig:
    return ProvisionerConfig(
        v["provisioner.enabled"],
        v["provisioner.host"] or v["broker.host"],
        _port("provisioner.port", v["provisioner.port"] or v["broker.port"]),
        _one_of("provisioner.transport", v["provisioner.transport"], TRANSPORTS),
        v["provisioner.control"],
        _path(base, v["provisioner.certificate_file"]),
        _path(base, v["provisioner.key_file"]),
    )


def _path(base: Path, text: str) -> str:
    return str(base / text) if text else ""


def _port(name: str, value: int) -> int:
    if not 1 <= value <= 65_535:
        raise ConfigError(name, value, "write a port from 1 to 65535")
    return value


def _day_of_month(name: str, value: int) -> int:
    if not 0 <= value <= 28:
        raise ConfigError(name, value, "write a day every month has, 1 to 28, or 0 for none")
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(name, value, f"write one of {', '.join(word or 'nothing' for word in allowed)}")
    return value


def _values(path: Path) -> dict[str, Any]:
    given = _flattened(_read(path))
    for name, value in given.items():
        setting = BY_NAME.get(name)
        if setting is None:
            raise ConfigError(name, value, "no such setting; 'gridtally-mdm show-config' lists them all")
        if type(value) is not setting.kind:
            raise ConfigError(name, value, f"write a {setting.kind.__name__}: {setting.sentence}")
    return {setting.name: given.get(setting.name, setting.default) for setting in SETTINGS}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("--config", str(path), f"can not be read ({error.strerror}); 'gridtally-mdm init' writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", str(path), f"is not TOML: {error}") from None


def _flattened(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in raw.items():
        flat |= _flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def rows_in_force(path: Path) -> list[tuple[Setting, Any, bool]]:
    """(setting, value, whether the file names it) for showing."""
    load_config(path)
    given = _flattened(_read(path))
    return [(setting, given.get(setting.name, setting.default), setting.name in given) for setting in SETTINGS]


def first_file() -> str:
    """A new configuration file: every setting as a comment with its default."""
    lines = ["# Configuration of gridtally-mdm. Every setting has a default; uncomment what you change.", ""]
    section = ""
    for setting in sorted(SETTINGS, key=lambda s: "." in s.name):
        table, _, name = setting.name.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        default = str(setting.default).lower() if setting.kind is bool else repr(setting.default).replace("'", '"')
        lines += [f"# {setting.sentence}", f"# {name} = {default}"]
    return "\n".join(lines) + "\n"
