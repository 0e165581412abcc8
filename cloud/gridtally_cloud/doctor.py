"""What `gridtally doctor` checks of an MDM installation: configuration, store, keys, broker, worker, pages.

Looks for the configuration in GRIDTALLY_MDM_CONFIG, else mdm.toml here. Without one, only the packages are checked.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

from gridtally_cloud.config import CONFIG_NAME, CloudConfig, load_config
from gridtally_cloud.person import listed
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu
from gridtally_shared.doctor import Check, port_check
from gridtally_shared.errors import GridtallyError

CONFIG_VARIABLE = "GRIDTALLY_MDM_CONFIG"
MIN_FREE_BYTES = 500_000_000


def checks() -> list[Check]:
    """All findings about the MDM on this machine."""
    path = Path(os.environ.get(CONFIG_VARIABLE, CONFIG_NAME))
    if not path.exists():
        return [Check("mdm configuration", True, f"no {path} here: no MDM is set up on this machine")]
    try:
        config = load_config(path)
    except GridtallyError as error:
        return [Check("mdm configuration", False, str(error), "mend the setting; 'gridtally-mdm show-config' lists them")]
    return [Check("mdm configuration", True, str(path)), _store(config), _erasures(config), _keys(config), _disk(config), _broker(config),
            _pages(config)]  # fmt: skip


def _store(config: CloudConfig) -> Check:
    try:
        db = Database(config.store_url)
        with db.read() as conn:
            count = len(conn.execute(dcu.select()).all())
        db.close()
    except Exception as error:
        text = str(error).splitlines()[0]
        return Check("mdm store", False, f"{config.store_url}: {text}", "run 'gridtally-mdm init', or mend store.url")
    return Check("mdm store", True, f"{config.store_url}, {count} DCUs")


def _erasures(config: CloudConfig) -> Check:
    """Whether an older copy of the store brought somebody back. A store that can not be read is the check before this one."""
    file = config.data_dir / listed.NAME
    try:
        db = Database(config.store_url)
        with db.read() as conn:
            back = listed.back_again(conn, file) if file.exists() else ()
        db.close()
    except Exception:
        return Check("mdm erasures", True, "not looked at: the store can not be read")
    if back:
        numbers = ", ".join(str(line.customer_no) for line in back)
        message = f"customers {numbers} were erased and are in the store again"
        return Check("mdm erasures", False, message, "run 'gridtally-mdm person again'")
    return Check("mdm erasures", True, "nobody who was erased is in the store")


def _keys(config: CloudConfig) -> Check:
    path = config.command_key_file
    if not path.exists():
        return Check("mdm command key", False, f"{path} is not there", "run 'gridtally-mdm init', or restore it from the backup")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check("mdm command key", False, f"{path} can be read by others ({mode:o})", f"chmod 600 {path}")
    return Check("mdm command key", True, str(path))


def _disk(config: CloudConfig) -> Check:
    folder = config.data_dir if config.data_dir.exists() else config.file.parent
    free = shutil.disk_usage(folder).free
    message = f"{free // 1_000_000} MB free in {folder}"
    return Check("mdm disk", free >= MIN_FREE_BYTES, message, "" if free >= MIN_FREE_BYTES else "make room or move data_dir")


def _broker(config: CloudConfig) -> Check:
    place = f"{config.broker.host}:{config.broker.port}"
    try:
        with socket.create_connection((config.broker.host, config.broker.port), timeout=3):
            return Check("mdm broker", True, f"{place} answers")
    except OSError as error:
        return Check("mdm broker", False, f"{place}: {error}", "start the broker, or mend broker.host and broker.port")


def _pages(config: CloudConfig) -> Check:
    return port_check("mdm pages", config.web.host, config.web.port, "web.port")
