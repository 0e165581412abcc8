"""Bills that are cancelled and made again; restatements a person decided to leave."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gridtally_cloud.store.base import NAMING
from gridtally_cloud.store.schema import metadata

revision = "r0024"
down_revision = "r0023"
branch_labels = None
depends_on = None
PERIOD = ["account_no", "kind", "from_ms", "to_ms"]
WAS, IS = "uq_bill_account_no_kind_from_ms_to_ms", "uq_bill_account_no_kind_from_ms_to_ms_revision"


def upgrade() -> None:
    """A store that r0001 has just made has everything already."""
    bind = op.get_bind()
    metadata.create_all(bind, tables=[metadata.tables["bill_left"]], checkfirst=True)
    if "revision" in {column["name"] for column in sa.inspect(bind).get_columns("bill")}:
        return
    with op.batch_alter_table("bill", naming_convention=NAMING) as batch:
        batch.add_column(sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
        batch.add_column(sa.Column("cancelled_ms", sa.BigInteger))
        batch.add_column(sa.Column("cancelled_by", sa.Text))
        batch.drop_constraint(WAS, type_="unique")
        batch.create_unique_constraint(IS, [*PERIOD, "revision"])


def downgrade() -> None:
    with op.batch_alter_table("bill", naming_convention=NAMING) as batch:
        batch.drop_constraint(IS, type_="unique")
        batch.create_unique_constraint(WAS, PERIOD)
        for name in ("revision", "cancelled_ms", "cancelled_by"):
            batch.drop_column(name)
    op.drop_table("bill_left")
