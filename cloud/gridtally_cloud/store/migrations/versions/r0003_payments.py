"""Stored payment methods, auto-replenish, pay stations, late credits. Tables of stores made before them."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None

TABLES = ("payment_method", "replenish_rule", "replenish_attempt", "consumer_notice", "late_credit", "station_payment", "station_day",
          "station_call", "test_gateway_method")  # fmt: skip


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in TABLES], checkfirst=True)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
