"""Firmware into a meter: whole, with lost blocks, interrupted, refused, slow, and with a restart at the end."""

from __future__ import annotations

import pytest

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessDenied, attribute
from gridtally_edge.protocols.dlms.image import Image, ImageStatus, ImageTransfer
from gridtally_edge.protocols.dlms.services import ActionRequest
from gridtally_edge.simulators.dlms_image import BLOCK_OCTETS
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_shared.errors import LinkDown, MeterFault
from support.dlms_meters import hdlc_client, hdlc_meter

IMAGE = Image(b"fw-2.1", bytes(range(251)) * 8)
BLOCKS = -(-len(IMAGE.content) // BLOCK_OCTETS)
FIRMWARE = attribute(1, "1.0.0.2.0.255", 2)


def transfer_to(meter) -> ImageTransfer:
    client = hdlc_client()
    meter.bench.run(client.open())
    return ImageTransfer(client)


def held(meter) -> bytes:
    return next(iter(meter.slave._units.values())).image.image()


@pytest.mark.covers_part("BYPL-8.1")
def test_a_whole_image_is_sent_verified_and_put_to_work() -> None:
    meter, told = hdlc_meter(), []
    transfer = transfer_to(meter)
    assert meter.bench.run(transfer.send(IMAGE, lambda done, count: told.append((done, count)))) == BLOCKS
    assert held(meter) == IMAGE.content
    assert told == [(n, BLOCKS) for n in range(1, BLOCKS + 1)]
    assert meter.bench.run(transfer.verify()) is ImageStatus.VERIFIED
    assert meter.bench.run(transfer.activate()) is ImageStatus.ACTIVATED
    assert axdr.text_of(meter.bench.run(transfer.client.get(FIRMWARE))) == "fw-2.1"


def test_blocks_the_meter_lost_are_sent_again() -> None:
    meter = hdlc_meter()
    meter.quirks.add(Quirk.LOSE_BLOCK, 3)
    assert meter.bench.run(transfer_to(meter).send(IMAGE)) == BLOCKS + 3
    assert held(meter) == IMAGE.content


def test_a_meter_that_keeps_nothing_is_given_up() -> None:
    meter = hdlc_meter(Quirk.LOSE_BLOCK)
    with pytest.raises(MeterFault, match=f"{BLOCKS} of {BLOCKS} blocks of the image stay missing"):
        meter.bench.run(transfer_to(meter).send(IMAGE))


@pytest.mark.covers_part("BYPL-8.1")
def test_an_interrupted_transfer_goes_on_where_the_bitmap_says() -> None:
    meter = hdlc_meter()
    transfer = transfer_to(meter)
    meter.bench.deaf = set(range(len(meter.bench.requests) + 8, 10_000))
    with pytest.raises(LinkDown):
        meter.bench.run(transfer.send(IMAGE))
    there = len(held(meter)) // BLOCK_OCTETS
    assert 0 < there < BLOCKS
    meter.bench.deaf = set()
    told: list[int] = []
    assert meter.bench.run(transfer_to(meter).send(IMAGE, lambda done, count: told.append(done))) == BLOCKS - there
    assert told[0] == there + 1
    assert held(meter) == IMAGE.content


def test_another_image_or_a_fresh_start_initiates_again() -> None:
    meter = hdlc_meter()
    transfer = transfer_to(meter)
    meter.bench.run(transfer.send(IMAGE))
    longer = Image(b"fw-2.2", IMAGE.content + bytes(500))
    assert meter.bench.run(transfer.send(longer)) == longer.blocks(BLOCK_OCTETS)
    assert meter.bench.run(transfer.send(longer, resume=False)) == longer.blocks(BLOCK_OCTETS)


def test_an_image_that_does_not_verify_is_told_and_not_activated() -> None:
    meter = hdlc_meter(Quirk.REFUSE_VERIFY)
    transfer = transfer_to(meter)
    meter.bench.run(transfer.send(IMAGE))
    with pytest.raises(AccessDenied):
        meter.bench.run(transfer.verify())
    assert meter.bench.run(transfer.status()) is ImageStatus.VERIFY_FAILED
    with pytest.raises(AccessDenied):
        meter.bench.run(transfer.activate())


def test_a_meter_that_verifies_slowly_is_asked_again_later() -> None:
    meter = hdlc_meter()
    transfer = transfer_to(meter)
    meter.bench.run(transfer.send(IMAGE))
    meter.quirks.add(Quirk.SLOW_VERIFY)
    with pytest.raises(LinkDown, match="still at its image"):
        meter.bench.run(transfer.verify())
    meter.quirks.clear()
    assert meter.bench.run(transfer.verify()) is ImageStatus.VERIFIED


def test_a_restart_at_activation_is_no_failure_of_the_image() -> None:
    meter = hdlc_meter()
    transfer = transfer_to(meter)
    meter.bench.run(transfer.send(IMAGE))
    meter.bench.run(transfer.verify())
    meter.quirks.add(Quirk.REBOOT, 1)
    assert meter.bench.run(transfer.activate()) is ImageStatus.ACTIVATED
    assert axdr.text_of(meter.bench.run(transfer.client.get(FIRMWARE))) == "fw-2.1"


def test_a_block_request_is_what_the_standard_says() -> None:
    meter = hdlc_meter()
    meter.bench.run(transfer_to(meter).send(Image(b"x", b"abc")))
    sent = ActionRequest(0xC0, attribute(18, "0.0.44.0.0.255", 2), axdr.decode(bytes.fromhex("020206000000000903616263")))
    assert any(sent.octets()[3:] in octets for octets in meter.bench.requests)
