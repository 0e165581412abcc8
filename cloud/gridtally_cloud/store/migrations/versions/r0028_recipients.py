"""Recipients of data: addresses, deliveries, errors; schedules that go to one of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0028"
down_revision = "r0027"
branch_labels = None
depends_on = None
TABLES = ("recipient", "recipient_address", "delivery_file", "delivery", "delivery_error")
NEW = (("recipient", ""), ("kind", "profile"))


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables[name] for name in TABLES], checkfirst=True)
    held = {column["name"] for column in sa.inspect(bind).get_columns("exchange_schedule")}
    for name, before in NEW:
        if name not in held:
            op.add_column("exchange_schedule", sa.Column(name, sa.Text, nullable=False, server_default=before))


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
    with op.batch_alter_table("exchange_schedule") as batch:
        for name, _ in NEW:
            batch.drop_column(name)
