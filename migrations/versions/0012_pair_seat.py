"""who plays a run of preference pairs right now, and the wish that it stops

Revision: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("pair_runs") as table:
        table.add_column(sa.Column("player_host", sa.String(255), nullable=True))
        table.add_column(sa.Column("player_pid", sa.Integer(), nullable=True))
        table.add_column(sa.Column("player_start", sa.String(80), nullable=True))
        table.add_column(sa.Column("beat_at", sa.DateTime(), nullable=True))
        table.add_column(sa.Column("stop_wished", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("pair_runs") as table:
        for name in ("stop_wished", "beat_at", "player_start", "player_pid", "player_host"):
            table.drop_column(name)
