"""jobs know what their program reported last as a message with code, level, languages and values

Revision: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a batch, which would copy the whole table: a column that may be null is added in an instant.
    op.add_column("jobs", sa.Column("progress_data", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "progress_data")
