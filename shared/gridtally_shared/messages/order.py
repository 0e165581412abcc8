"""What a MESSAGE command needs beside its text: its kind, whether an answer is asked for, or a code of the catalogue with parameters.

Kinds are those of ETSI TR 102 691 5.2.16 and of the seed's messages to the meter (C3-FR11). A message with a code needs no text:
the text is local.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.evidence import MessageParam
from gridtally_shared.messages.catalogue import table
from gridtally_shared.records import dataclass

KINDS = ("general", "advice", "notice", "marketing", "informational", "functional")
ANSWERS = ("accepted", "declined")
WORDS = ("displayed", "read", *ANSWERS)
"""What a consumer or a display may say to a message, in the order in which it can only go on."""
FILED = ("saved", "deleted")
"""What a consumer may do with a message once it was seen."""


@dataclass(frozen=True, slots=True)
class MessageOrder:
    kind: str = key(0, "general")
    asks: bool = key(1, False)
    code: str = key(2, "")
    params: tuple[MessageParam, ...] = key(3, ())


def order_of(detail: bytes) -> MessageOrder:
    """The order in a command's detail; a plain one where there is none. Raises ContractError for one that can not be shown."""
    order = decode(MessageOrder, detail) if detail else MessageOrder()
    if order.kind not in KINDS or (order.code and order.code not in table("notices")):
        raise ContractError(f"a message of kind {order.kind!r} and code {order.code!r} is not known here")
    return order


def order_bytes(order: MessageOrder) -> bytes:
    return encode(order)
