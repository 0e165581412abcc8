"""What the payment services are given by the rim: the signing port, the gateway if one is configured, the limits.

* There is no default gateway. Without one, portal payments are refused with the setting to write; the desk still takes cash.
* The test gateway must be named: `payments.gateway = "test"`. Production never gets it by leaving something out.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_cloud.prepay.gateway import Gateway
from gridtally_cloud.prepay.trial_gateway import TrialGateway
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import NANO
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

MIN_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Smallest and largest single payment."""

    minimum_nano: int
    maximum_nano: int


DEFAULT_LIMITS: dict[str, Limits] = {
    "EUR": Limits(5 * NANO, 500 * NANO),
    "USD": Limits(5 * NANO, 500 * NANO),
    "INR": Limits(100 * NANO, 20_000 * NANO),
    "KES": Limits(50 * NANO, 50_000 * NANO),
}
OTHER_CURRENCY = Limits(1 * NANO, 10_000 * NANO)


@dataclass(frozen=True, slots=True)
class Payments:
    """Handed to every service call that takes or gives back money. `minimum_covers_reconnection`: whoever is cut pays at least
    what brings the supply back (minimum.py)."""

    signer: Signer
    gateway: Gateway | None = None
    limits: dict[str, Limits] = field(default_factory=lambda: dict(DEFAULT_LIMITS))
    minimum_covers_reconnection: bool = False

    def limits_for(self, currency: str) -> Limits:
        return self.limits.get(currency, OTHER_CURRENCY)


def payments_from(signer: Signer, gateway: str, secrets: tuple[bytes, ...], limits: dict[str, Limits] | None = None) -> Payments:
    """Build from settings: `gateway` is '' (none) or 'test'; `secrets` are the webhook secrets. Raises ConfigError."""
    return Payments(signer, gateway_from(gateway, secrets), {**DEFAULT_LIMITS, **(limits or {})})


def gateway_from(gateway: str, secrets: tuple[bytes, ...]) -> Gateway | None:
    """Raises ConfigError for a name nobody knows and for a short secret."""
    if not gateway:
        return None
    if gateway != "test":
        raise ConfigError("payments.gateway", gateway, "this version knows 'test' (no real money), or leave it out for none")
    if not secrets or min(map(len, secrets)) < MIN_SECRET_BYTES:
        raise ConfigError("payments.webhook_secret", "(hidden)", f"write a random secret of at least {MIN_SECRET_BYTES} bytes")
    return TrialGateway(secrets)
