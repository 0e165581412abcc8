"""What the broker must know of a DCU, as orders of Mosquitto's dynamic security plug-in (JSON on a control topic).

* A client is a certificate's CN; its role says which topics it may use. `pending` may only activate, `dcu` speaks under
  its own root. Revoking deletes the client, which ends its session at once (reliability-security.md 3.4).
* The embedded broker has no such control: `orders` are then not sent, and the view says that transport security is off.
* Claim boxes share one certificate; their listener's ACL goes by client id and is a file (mosquitto.py).
"""

from __future__ import annotations

import json

from gridtally_shared.records import dataclass

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"

Acl = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    acls: tuple[Acl, ...]

    def as_json(self) -> dict[str, object]:
        rows = [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in self.acls]
        return {"rolename": self.name, "acls": rows}


def reads(topic: str) -> tuple[Acl, ...]:
    return (("subscribePattern", topic), ("publishClientReceive", topic))


def writes(topic: str) -> tuple[Acl, ...]:
    return (("publishClientSend", topic),)


def pending_role(dcu: str) -> Role:
    """A box with a certificate that has not shown up under its name yet."""
    return Role(f"pending-{dcu}", writes(f"gt/1/{dcu}/up/activate") + reads(f"gt/1/{dcu}/down/activated"))


def dcu_role(dcu: str) -> Role:
    """A DCU: all of its own root and nothing of any neighbour's."""
    return Role(f"dcu-{dcu}", writes(f"gt/1/{dcu}/up/#") + reads(f"gt/1/{dcu}/down/#"))


MDM_ROLE = Role("mdm", writes("gt/1/+/down/#") + reads("gt/1/+/up/#") + (("subscribePattern", "$share/+/gt/1/+/up/#"),))
PROVISIONER_ROLE = Role(
    "provisioner",
    reads("prov/1/req/#") + writes("prov/1/resp/#") + reads("gt/1/+/up/activate") + writes("gt/1/+/down/activated")
    + (("publishClientSend", "$CONTROL/dynamic-security/#"), *reads("$CONTROL/dynamic-security/#")),
)  # fmt: skip


def admit_pending(dcu: str) -> bytes:
    """Orders that make a freshly issued name known with the one right to activate."""
    return _commands(
        {"command": "deleteClient", "username": dcu},
        {"command": "deleteRole", "rolename": pending_role(dcu).name},
        {"command": "createRole", **pending_role(dcu).as_json()},
        {"command": "createClient", "username": dcu, "roles": [{"rolename": pending_role(dcu).name}]},
    )


def admit_active(dcu: str) -> bytes:
    """Orders that give an activated name its own root."""
    return _commands(
        {"command": "deleteRole", "rolename": dcu_role(dcu).name},
        {"command": "createRole", **dcu_role(dcu).as_json()},
        {"command": "addClientRole", "username": dcu, "rolename": dcu_role(dcu).name},
        {"command": "removeClientRole", "username": dcu, "rolename": pending_role(dcu).name},
        {"command": "deleteRole", "rolename": pending_role(dcu).name},
    )


def revoke(dcu: str) -> bytes:
    """Orders that end a name's live session and refuse it from now on."""
    return _commands(
        {"command": "deleteClient", "username": dcu},
        {"command": "deleteRole", "rolename": dcu_role(dcu).name},
    )


def _commands(*orders: dict[str, object]) -> bytes:
    return json.dumps({"commands": list(orders)}).encode()
