"""`gridtally-mdm inventory ...` and `gridtally-mdm broker-files`: which boxes may enrol, and a broker they can trust."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path

from sqlalchemy import select

from gridtally_cloud.config import load_config
from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.provisioning import ca, mosquitto
from gridtally_cloud.provisioning.service import add_to_inventory
from gridtally_cloud.provisioning.tables import inventory, refused_box
from gridtally_shared.errors import ConfigError

SECRET_BYTES = 16


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `inventory` and `broker-files` to the commands of gridtally-mdm."""
    about = "the boxes that may enrol, and those that were refused"
    area = commands.add_parser("inventory", help=about, description=about)
    actions = area.add_subparsers(required=True, metavar="action")
    add = actions.add_parser("add", help="let a box enrol",
                             epilog="example: gridtally-mdm inventory add SN-1 --dcu dcu-1 --secret-file label.txt")  # fmt: skip
    add.add_argument("serial", help="serial number on the label")
    add.add_argument("--dcu", required=True, help="the name it will have")
    add.add_argument("--secret-file", type=Path, required=True, help="file with the install secret of the label, 32 hex digits")
    add.add_argument("--batch", default="", help="delivery it came with")
    add.set_defaults(run=with_desk(open_desk, _add))
    listing = actions.add_parser("list", help="inventory and refused boxes", epilog="example: gridtally-mdm inventory list --json")
    listing.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    listing.set_defaults(run=with_desk(open_desk, _list))
    _add_broker_files(commands)


def _add_broker_files(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "write the files of a secured Mosquitto: configuration, rules, certificates"
    files = commands.add_parser("broker-files", help=about, description=about,
                                epilog="example: gridtally-mdm broker-files --folder broker --host mqtt.example.org")  # fmt: skip
    files.add_argument("--folder", type=Path, required=True, help="where the broker will find them")
    files.add_argument("--host", action="append", required=True, help="name or address DCUs use to reach it, repeatable")
    files.add_argument("--bind", default="0.0.0.0", help="address it listens on (all)")
    files.add_argument("--port", type=int, default=8883, help="operational listener (8883)")
    files.add_argument("--claim-port", type=int, default=8884, help="claim listener (8884)")
    files.set_defaults(run=_broker_files)


def _add(desk: Desk, options: argparse.Namespace) -> int:
    secret = _secret(options.secret_file)
    now_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        new = add_to_inventory(conn, options.serial, options.dcu, secret, now_ms, options.batch)
    print(f"{options.serial} may enrol as {options.dcu}" if new else f"{options.serial} is in the inventory already; left as it is")
    return 0


def _secret(path: Path) -> bytes:
    try:
        secret = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError("--secret-file", str(path), "write the 32 hex digits of the label into this file")
    return secret


def _list(desk: Desk, options: argparse.Namespace) -> int:
    columns = (inventory.c.serial, inventory.c.dcu, inventory.c.state, inventory.c.batch)
    with desk.db.read() as conn:
        boxes = [dict(r) for r in conn.execute(select(*columns).order_by(inventory.c.serial)).mappings()]
        refused = [dict(r) for r in conn.execute(select(refused_box).order_by(refused_box.c.last_ms.desc())).mappings()]
    if options.json:
        print(json.dumps({"inventory": boxes, "refused": refused}))
        return 0
    for box in boxes:
        print(f"{box['serial']:24} {box['dcu']:20} {box['state']:9} {box['batch']}")
    for box in refused:
        print(f"{box['serial']:24} refused: {box['reason']}, {box['count']} times")
    if not boxes and not refused:
        print("no boxes yet; 'gridtally-mdm inventory add --help' shows how to add one")
    return 0


def _broker_files(options: argparse.Namespace) -> int:
    now = dt.datetime.now(dt.UTC)
    keys = load_config(options.config).ca_dir
    operational = ca.open_or_create(keys, "operational-ca", now)
    claim = ca.open_or_create(keys, "claim-ca", now)
    files = mosquitto.BrokerFiles(options.folder.resolve(), options.port, options.claim_port)
    mosquitto.write_broker(files.folder, operational, claim, files, now, tuple(options.host), options.bind)
    print(f"broker: mosquitto -c {files.config}")
    print(f"boxes bring {files.folder}/claim.crt, claim.key and operational-ca.crt; the MDM mdm.crt and mdm.key; keep {keys} away")
    return 0
