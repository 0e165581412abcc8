"""Files of a secured Mosquitto 2 for gridtally: two listeners, mutual TLS on both, nothing in common between them.

* Claim listener: own CA, ACL by client id, small messages, few connections; a claim certificate may ask and hear its answer.
* Operational listener: operational CA, the certificate's CN is user name and client id, dynamic security decides.
* Written by `write_broker`; `packaging/broker/README.md` says how to run it. Tried with Debian's 2.0.11.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gridtally_cloud.provisioning import broker_admin, ca
from gridtally_shared.records import dataclass

PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
CLAIM_NAME = "claim"

_CONF = """# Made by `gridtally-mdm broker-files`. Two listeners that share nothing but the process.
per_listener_settings true
persistence false
max_packet_size 524288

listener {claim_port} {bind}
cafile {folder}/claim-ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
allow_anonymous true
acl_file {folder}/claim.acl
max_connections 50

listener {port} {bind}
cafile {folder}/operational-ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
plugin {plugin}
plugin_opt_config_file {folder}/dynamic-security.json
"""

_CLAIM_ACL = """# A claim box may ask under its own client id and hear the answer; nothing else.
pattern write prov/1/req/%c/#
pattern read prov/1/resp/%c/#
"""


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Where the files lie and which ports they name."""

    folder: Path
    port: int
    claim_port: int

    @property
    def config(self) -> Path:
        return self.folder / "mosquitto.conf"


def find_plugin() -> str:
    """The dynamic security plug-in as Debian installs it, for this machine's architecture."""
    found = sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))
    return str(found[0]) if found else PLUGIN


def write_broker(folder: Path, operational: ca.Authority, claim: ca.Authority, files: BrokerFiles, now: dt.datetime,
                 hosts: tuple[str, ...], bind: str) -> None:  # fmt: skip
    """Write configuration, ACL, first dynamic security state and the credentials of broker, MDM, provisioner and claim."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operational-ca.crt").write_bytes(operational.pem)
    (folder / "claim-ca.crt").write_bytes(claim.pem)
    _credential(folder, "broker", operational, "broker", now, ca.CA_DAYS, hosts)
    for name in ("mdm", "provisioner"):
        _credential(folder, name, operational, name, now, ca.DEVICE_DAYS)
    _credential(folder, CLAIM_NAME, claim, CLAIM_NAME, now, ca.CLAIM_DAYS)
    (folder / "claim.acl").write_text(_CLAIM_ACL, encoding="utf-8")
    state = folder / "dynamic-security.json"
    if not state.exists():
        ca.write_secret(state, json.dumps(_first_state(), indent=1).encode())
    text = _CONF.format(folder=folder, port=files.port, claim_port=files.claim_port, bind=bind, plugin=find_plugin())
    files.config.write_text(text, encoding="utf-8")


def _credential(folder: Path, stem: str, authority: ca.Authority, name: str, now: dt.datetime, days: int,
                hosts: tuple[str, ...] = ()) -> None:  # fmt: skip
    if (folder / f"{stem}.crt").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    made = ca.issue(authority, name, key.public_key(), now, days, hosts)
    ca.write_secret(folder / f"{stem}.key", ca.key_pem(key))
    ca.write_secret(folder / f"{stem}.crt", made.public_bytes(Encoding.PEM))


def _first_state() -> dict[str, object]:
    roles = (broker_admin.MDM_ROLE, broker_admin.PROVISIONER_ROLE)
    return {
        "defaultACLAccess": {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True},
        "clients": [{"username": r.name, "roles": [{"rolename": r.name, "priority": 0}]} for r in roles],
        "groups": [],
        "roles": [r.as_json() for r in roles],
    }
