"""The signed configuration of a DCU: made from the tables, a new version when the content changes, sent until held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.assets.config_publisher import Round, publish_changes
from gridtally_cloud.customers import tariffs
from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.publisher import GROWTH_LIMIT, MINUTE_MS, Publisher
from gridtally_cloud.store.tables import config_version, dcu, meter
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import DcuConfig, Hello
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, TARIFF, Street, new_street

SIGNER = KeySigner.from_seed(b"\x05" * 32)
DAY_MS = 86_400_000


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _send(street: Street, now_ms: int = START_MS) -> list[DcuConfig]:
    sent: list[bytes] = []
    Publisher(street.db, "test", lambda _topic, payload: bool(sent.append(payload)) or True).send_due(now_ms, 1.0)
    return [decode(DcuConfig, verify1({SIGNER.key_id: SIGNER.public}, "config", payload)) for payload in sent]


def _hello(street: Street, config_version: int, now_ms: int = START_MS) -> None:
    message = encode(Hello(1, street.dcu, b"\x07" * 16, "1.0", now_ms, 0, config_version))
    assert Ingest(street.db, SIGNER).handle(BY_NAME["hello"].topic(street.dcu), message, now_ms)


def test_the_configuration_says_what_the_tables_say(street: Street) -> None:
    assert publish_changes(street.db, SIGNER, START_MS) == (street.dcu,)
    config = _send(street)[0]
    assert (config.version, config.dcu, config.issued_at_ms) == (1, street.dcu, START_MS)
    assert [(m.meter_no, m.serial, m.account_no, m.interval_s) for m in config.meters] == [
        (1, "M-1", 1, 900), (2, "M-2", 2, 900), (3, "M-3", 3, 900),
    ]  # fmt: skip
    assert [(a.account_no, a.account_epoch, a.meter_no, a.tariff_id) for a in config.accounts] == [
        (1, 1, 1, "home"), (2, 1, 2, "home"), (3, 1, 3, "home"),
    ]  # fmt: skip
    assert [(t.tariff_id, t.version, t.document) for t in config.tariffs] == [("home", 1, TARIFF)]
    assert START_MS + 6 * DAY_MS < config.cut_lease_until_ms <= START_MS + 7 * DAY_MS


def test_the_same_content_makes_no_version(street: Street) -> None:
    publish_changes(street.db, SIGNER, START_MS)
    assert publish_changes(street.db, SIGNER, START_MS + 1000) == ()


def test_each_change_makes_the_next_version_and_only_the_newest_travels(street: Street) -> None:
    publish_changes(street.db, SIGNER, START_MS)
    with street.db.write() as conn:
        conn.execute(update(account).where(account.c.account_no == 1).values(zero_action="disconnect", protected_hours="22:00-06:00"))
    publish_changes(street.db, SIGNER, START_MS)
    with street.db.write() as conn:
        tariffs.add_tariff(conn, "home", START_MS + DAY_MS, TARIFF.replace("0.30", "0.31"), START_MS, "test")
        conn.execute(update(meter).where(meter.c.meter_no == 3).values(removed_ms=START_MS))
    publish_changes(street.db, SIGNER, START_MS)
    sent = _send(street)
    assert [c.version for c in sent] == [3]
    assert sent[0].accounts[0].zero_action == "disconnect"
    assert sent[0].accounts[0].protected_hours == ("22:00-06:00",)
    assert [m.meter_no for m in sent[0].meters] == [1, 2]
    assert [t.version for t in sent[0].tariffs] == [1, 2]


@pytest.fixture
def many(street: Street) -> tuple[str, ...]:
    names = (street.dcu, *(f"dcu-test-{n}" for n in range(2, 6)))
    with street.db.write() as conn:
        conn.execute(insert(dcu), [{"dcu": name, "state": "enrolled", "created_ms": START_MS} for name in names[1:]])
    return names


def test_the_worker_looks_at_a_part_of_them_each_turn_and_at_everyone_in_a_round(street: Street, many: tuple[str, ...]) -> None:
    worker = Round(street.db, SIGNER, turn_s=0)
    assert tuple(name for _ in many for name in worker.turn(START_MS)) == many
    assert [worker.turn(START_MS) for _ in many] == [()] * 5
    with street.db.write() as conn:
        conn.execute(update(dcu).where(dcu.c.dcu.in_((many[0], many[3]))).values(cut_share_per_hour_permille=7))
        conn.execute(update(dcu).where(dcu.c.dcu == many[4]).values(state="retired"))
    assert sorted(name for _ in many for name in worker.turn(START_MS)) == [many[0], many[3]]


def test_with_time_enough_a_turn_is_a_round(street: Street, many: tuple[str, ...]) -> None:
    worker = Round(street.db, SIGNER, turn_s=60)
    assert worker.turn(START_MS) == many
    assert worker.turn(START_MS + DAY_MS) == many, "the lease to cut, renewed"


def test_a_postpaid_account_does_not_travel(street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(update(account).where(account.c.account_no == 2).values(mode="postpaid"))
    publish_changes(street.db, SIGNER, START_MS)
    config = _send(street)[0]
    assert [a.account_no for a in config.accounts] == [1, 3]
    assert [m.account_no for m in config.meters] == [1, 0, 3]


def test_the_lease_to_cut_is_renewed_every_day(street: Street) -> None:
    publish_changes(street.db, SIGNER, START_MS)
    assert publish_changes(street.db, SIGNER, START_MS + DAY_MS) == (street.dcu,)


def test_a_configuration_is_sent_until_a_hello_says_it_is_held(street: Street) -> None:
    publish_changes(street.db, SIGNER, START_MS)
    assert len(_send(street)) == 1
    assert _send(street, START_MS + MINUTE_MS - 1) == []
    assert len(_send(street, START_MS + MINUTE_MS)) == 1
    assert _send(street, START_MS + 2 * MINUTE_MS) == []
    _hello(street, 0)
    assert len(_send(street, START_MS + 2 * MINUTE_MS)) == 1
    _hello(street, 1, START_MS + 3 * MINUTE_MS)
    assert _send(street, START_MS + 10 * (MINUTE_MS << GROWTH_LIMIT)) == []
    with street.db.read() as conn:
        assert conn.execute(select(config_version.c.held_at_ms)).scalar_one() == START_MS + 3 * MINUTE_MS
        assert conn.execute(select(dcu.c.config_held)).scalar_one() == 1


def test_a_box_that_comes_back_with_an_old_disk_is_sent_what_is_in_force_now(street: Street) -> None:
    """It would go on with the meters, holds and prices of then, until something changes again."""
    publish_changes(street.db, SIGNER, START_MS)
    publish_changes(street.db, SIGNER, START_MS + DAY_MS)
    _hello(street, 2, START_MS + DAY_MS)
    assert _send(street, START_MS + DAY_MS + MINUTE_MS * 60) == []
    _hello(street, 1, START_MS + DAY_MS + MINUTE_MS * 60)
    assert [config.version for config in _send(street, START_MS + DAY_MS + MINUTE_MS * 60)] == [2]
    _hello(street, 2, START_MS + DAY_MS + 2 * MINUTE_MS * 60)
    assert _send(street, START_MS + 2 * DAY_MS) == []
