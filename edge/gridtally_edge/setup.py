"""`gridtally-dcu init`: configuration file, data folder and stores. Safe to repeat; it also updates old stores."""

from __future__ import annotations

from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.journal.schema import READINGS, READINGS_FILE
from gridtally_edge.journal.sqlite import migrate
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.errors import ConfigError

TEMPLATE = """\
# gridtally-dcu: the bootstrap file. 'gridtally-dcu run --show-config' explains every setting.
dcu = "{dcu}"
data_dir = "data"
command_key_file = "command-key.pub"

[broker]
host = "127.0.0.1"
port = 8883
# ca_file = "ca.pem"
# certificate_file = "dcu.pem"
# key_file = "dcu.key"

# [[line]]
# name = "rs485"
# device = "/dev/serial/by-id/..."
# baud = 9600
"""


def initialise(config_file: Path, dcu: str | None) -> int:
    if not config_file.exists():
        _write_template(config_file, dcu)
    config = load_config(config_file)
    config.data_dir.mkdir(parents=True, exist_ok=True)
    for name, store in ((READINGS_FILE, READINGS), ("money.db", MONEY_STORE)):
        migrate(config.data_dir / name, store)
        print(f"{config.data_dir / name} is up to date")
    return 0


def _write_template(config_file: Path, dcu: str | None) -> None:
    if dcu is None:
        raise ConfigError("--config", str(config_file), "there is no such file; give --dcu NAME to make one")
    try:
        config_file.parent.mkdir(parents=True, exist_ok=True)
        config_file.write_text(TEMPLATE.format(dcu=dcu), encoding="utf-8")
    except OSError as error:
        raise ConfigError("--config", str(config_file), f"{error.strerror}; choose another place") from None
    print(f"{config_file} made: fill in the broker and the lines")
