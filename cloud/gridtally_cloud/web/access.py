"""Which role may call which endpoint: one table. An endpoint that is not in it is refused, and a test finds it first.

Another person's account is not a matter of roles: it is answered with 404, as if it did not exist (`own_account`).
"""

from __future__ import annotations

from gridtally_cloud.customers.model import STAFF as STAFF_ROLES
from gridtally_cloud.customers.model import Role

Roles = frozenset[Role]

PUBLIC: Roles = frozenset()
ANYBODY: Roles = frozenset(Role)
CONSUMER: Roles = frozenset({Role.CONSUMER})
STAFF: Roles = frozenset(STAFF_ROLES)
DESK: Roles = frozenset({Role.DESK, Role.ADMIN})
OPERATIONS: Roles = frozenset({Role.OPERATIONS, Role.ADMIN})
ADMIN: Roles = frozenset({Role.ADMIN})

ACCESS: dict[str, Roles] = {
    # PUBLIC: no login (the API has tokens of its own, the webhook a signature)
    "static": PUBLIC,
    "auth.login": PUBLIC,
    "auth.choose_language": PUBLIC,
    "auth.start": ANYBODY,
    "auth.logout": ANYBODY,
    "auth.password": ANYBODY,
    "consumer.home": CONSUMER,
    "consumer.emergency": CONSUMER,
    "consumer.usage": CONSUMER,
    "consumer.usage_csv": CONSUMER,
    "consumer.bills": CONSUMER,
    "consumer.bill": CONSUMER,
    "consumer.bill_pdf": CONSUMER,
    "consumer.pay_bill": CONSUMER,
    "consumer.recharge": CONSUMER,
    "consumer.receipt": CONSUMER,
    "consumer.pay_order": CONSUMER,
    "replenish.page": CONSUMER,
    "replenish.off": CONSUMER,
    "replenish.store": CONSUMER,
    "replenish.remove": CONSUMER,
    "consumer.history": CONSUMER,
    "letters.page": CONSUMER,
    "letters.say": CONSUMER,
    "consumer.profile": CONSUMER,
    "consumer.end_sessions": CONSUMER,
    "desk.accounts": DESK,
    "desk.account": DESK,
    "desk.credit": DESK,
    "desk.bill_pdf": DESK,
    "replay.account": STAFF,
    "replay.late": STAFF,
    "handover.page": DESK | OPERATIONS,
    "handover.mode": DESK,
    "handover.meter": DESK | OPERATIONS,
    "handover.edge": OPERATIONS,
    "prepaying.page": CONSUMER,
    "prepaying.ask": CONSUMER,
    "prepaying.event": CONSUMER,
    "prepaying.contact": CONSUMER,
    "enrolling.desk_page": DESK,
    "enrolling.check": DESK,
    "enrolling.desk_ask": DESK,
    "enrolling.acknowledge": DESK,
    "programmes.page": DESK | OPERATIONS,
    "programmes.book": DESK,
    "programmes.change": DESK,
    "work.page": STAFF,
    "work.close": DESK | OPERATIONS,
    "work.no_power_of": DESK,
    "work.send_delivery": OPERATIONS,
    "asking.no_power_here": CONSUMER,
    "asking.other_mode": CONSUMER,
    "operations.overview": STAFF,
    "operations.meters": STAFF,
    "operations.meter": STAFF,
    "operations.command": OPERATIONS,
    "operations.commands": OPERATIONS,
    "operations.command_page": OPERATIONS,
    "operations.cancel": OPERATIONS,
    "operations.release": OPERATIONS,
    "operations.events": STAFF,
    "operations.load": STAFF,
    "operations.prices": STAFF,
    "operations.dcus": OPERATIONS,
    "operations.tokens": ADMIN,
    "operations.revoke_token": ADMIN,
    "payments.gateway_page": CONSUMER,
    "payments.returned": CONSUMER,
    "payments.webhook": PUBLIC,
}


def allowed(endpoint: str, role: Role | None) -> bool:
    """Whether a visitor (None: nobody logged in) may call an endpoint. API endpoints check their own token."""
    if endpoint.startswith("api."):
        return True
    roles = ACCESS.get(endpoint)
    return roles is not None and (roles == PUBLIC or role in roles)
