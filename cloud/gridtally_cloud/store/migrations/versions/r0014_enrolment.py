"""Messages to consumers, proofs of identity, programmes and requests to prepay."""

from __future__ import annotations

from alembic import op

from gridtally_cloud.store.schema import metadata

revision = "r0014"
down_revision = "r0013"
branch_labels = None
depends_on = None

NAMES = ("consumer_message", "contact_choice", "identity_check", "programme_option", "prepay_request")


def upgrade() -> None:
    """A store that r0001 has just made has them already."""
    metadata.create_all(op.get_bind(), tables=[metadata.tables[name] for name in NAMES], checkfirst=True)


def downgrade() -> None:
    for name in NAMES:
        op.drop_table(name)
