"""Which worlds have money that moves in ways of its own, and how often: a wallet that several homes share, cards that are charged when the
balance is low, and charges of the past that are corrected.

Drawn from a stream of its own, so that the other worlds stay exactly as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from gridtally_shared.money import NANO

FAMILIES = 0.15
REPLENISH_SHARE = 0.12
CORRECTIONS_SHARE = 0.1
"""The share of the worlds in which homes live on one wallet; in which a stored card is charged; and in which charges are corrected."""
MINUTE_MS = 60_000
Make = tuple[str, float, Any]


@dataclass(frozen=True, slots=True)
class Money:
    """`family`: the places of the homes that live on one wallet from the beginning, `credit_nano` its credit line. `cards`: the places of
    those that agreed to a charge of a card. `kinds`: steps that come on top of the others."""

    family: tuple[int, ...] = ()
    credit_nano: int = 0
    cards: tuple[int, ...] = ()
    kinds: tuple[Make, ...] = ()


NO_MONEY = Money()
WALLET_KINDS: tuple[Make, ...] = (
    ("wallet_cash", 1.0, lambda r, n: (r.choice((5, 20, 50, 200)) * 1_000 + r.randrange(100) * 10,)),
    ("wallet_back", 0.4, lambda r, n: (r.randrange(n),)),
    ("wallet_join", 0.3, lambda r, n: (r.randrange(n),)),
    ("wallet_refund", 0.3, lambda r, n: (r.randint(1, 100),)),
)


CARD_KINDS: tuple[Make, ...] = (
    ("card", 0.5, lambda r, n: (r.randrange(n), r.randrange(6), r.randrange(1 << 30))),
    ("card_off", 0.2, lambda r, n: (r.randrange(n),)),
    ("bank_line", 0.6, lambda r, n: (r.choice((1, 2)), r.choice((10, 120, 600)) * MINUTE_MS)),
)


CORRECTION_KINDS: tuple[Make, ...] = (("correct", 1.2, lambda r, n: (r.randrange(n), r.choice((-1, 1)) * r.randint(1, 60_000))),)


def money_of(seed: int, homes: int) -> Money:
    wallet, cards = Random(f"wallet:{seed}"), Random(f"cards:{seed}")
    money = NO_MONEY
    if wallet.random() < FAMILIES:
        first = wallet.choice((0, 0, 1)) if homes > 1 else 0
        money = Money(tuple(range(first, homes)), wallet.choice((0, 0, 0, 30)) * NANO, (), WALLET_KINDS)
    if Random(f"corrections:{seed}").random() < CORRECTIONS_SHARE:
        money = replace(money, kinds=(*money.kinds, *CORRECTION_KINDS))
    if cards.random() < REPLENISH_SHARE:
        some = tuple(sorted(cards.sample(range(homes), cards.randint(1, homes))))
        money = replace(money, cards=some, kinds=(*money.kinds, *CARD_KINDS))
    return money
