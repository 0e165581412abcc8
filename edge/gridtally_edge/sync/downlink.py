"""What comes down: topic and bytes to a checked message. Everything that is wrong is a ContractError.

* welcome and config are verified here against the command key; instruments and commands stay in their envelopes, since
  the prepay core verifies and stores them as they came.
* A configuration with intervals longer than an hour is refused as a whole: consumption is recorded at least hourly (C3-FR19).
* A welcome must answer this boot's hello: an old one, played again, says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gridtally_edge.prepay.events import CheckpointSigned, CommandArrived, InstrumentArrived, MirrorArrived
from gridtally_shared.contract.channels import parse_topic
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import DcuConfig, Receipt, Welcome
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass
from gridtally_shared.signing import verify1

LONGEST_INTERVAL_S = 3_600


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are and whom we believe: `keys` are key id -> Ed25519 public key."""

    dcu: str
    boot_id: bytes
    keys: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class SignedConfig:
    """A verified configuration with the envelope it came in."""

    config: DcuConfig
    envelope: bytes


Down = Receipt | Welcome | SignedConfig | InstrumentArrived | CommandArrived | CheckpointSigned | MirrorArrived


def open_message(identity: Identity, topic: str, payload: bytes) -> Down:
    """The message of a down topic. Raises ContractError."""
    channel, dcu = parse_topic(topic)
    reader = _READERS.get(channel.name)
    if reader is None or dcu != identity.dcu:
        raise ContractError(f"nothing is expected on {topic}")
    return reader(identity, payload)


def open_config(identity: Identity, envelope: bytes) -> SignedConfig:
    """Also for the stored configuration at a start. Raises ContractError."""
    config = decode(DcuConfig, verify1(identity.keys, "config", envelope))
    if config.dcu != identity.dcu:
        raise ContractError(f"the configuration is for {config.dcu}")
    for meter in config.meters:
        if not 0 < meter.interval_s <= LONGEST_INTERVAL_S:
            raise ContractError(f"meter {meter.meter_no}: intervals of {meter.interval_s} s; at most {LONGEST_INTERVAL_S} are allowed")
    return SignedConfig(config, envelope)


def _open_welcome(identity: Identity, envelope: bytes) -> Welcome:
    welcome = decode(Welcome, verify1(identity.keys, "welcome", envelope))
    if (welcome.dcu, welcome.boot_id) != (identity.dcu, identity.boot_id):
        raise ContractError("the welcome does not answer our hello")
    return welcome


_READERS: dict[str, Callable[[Identity, bytes], Down]] = {
    "receipt": lambda _, payload: decode(Receipt, payload),
    "welcome": _open_welcome,
    "config": open_config,
    "instrument": lambda _, payload: InstrumentArrived(payload),
    "command": lambda _, payload: CommandArrived(payload),
    "checkpoint": lambda _, payload: CheckpointSigned(payload),
    "mirror": lambda _, payload: MirrorArrived(payload),
}
