"""What every request may reach: the store, the clocks, the payment settings. Put into the app once, by `create_app`."""

from __future__ import annotations

from dataclasses import field
from typing import cast

from flask import current_app

from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import Clock, SystemClock
from gridtally_shared.records import dataclass

EXTENSION = "gridtally"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`secret_key` signs the form cookie; `https` sets Secure cookies and HSTS; `zone` is the time zone of staff pages;
    `consumers_change_mode`: a consumer may ask for another way of paying himself."""

    secret_key: bytes
    https: bool = False
    zone: str = "UTC"
    consumers_change_mode: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """`clock` is business time (virtual in a demo); `real` drives sessions and lock-outs."""

    settings: WebSettings
    db: Database
    clock: Clock
    payments: Payments
    real: Clock = field(default_factory=SystemClock)

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()


def site() -> Site:
    """The site of the request being answered."""
    return cast(Site, current_app.extensions[EXTENSION])
