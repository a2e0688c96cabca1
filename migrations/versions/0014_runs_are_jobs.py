"""a run is a job: who plays it stands in the job's row, and the phase of a game is no longer a sentence

Revision: 0014
Revises: 0013
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_PLAYER_COLUMNS = ("stop_wished", "beat_at", "player_start", "player_pid", "player_host")
_PHASE = re.compile(r"\d+\.[a-z_]+")
"""Round and phase, such as 2.adversary; a sentence for people has spaces."""


# Without batches, which copy whole tables and write their constraints in an order of chance: none of these columns
# has a constraint, so that each goes and comes in an instant.
def upgrade() -> None:
    for table in ("pair_runs", "principle_runs"):
        for column in _PLAYER_COLUMNS:
            op.drop_column(table, column)
    op.add_column("principle_runs", sa.Column("phase", sa.String(40), nullable=True))
    op.add_column("principle_runs", sa.Column("message", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    update = sa.text("UPDATE principle_runs SET phase = :phase, message = :message WHERE id = :id")
    for run_id, told in connection.execute(sa.text("SELECT id, told FROM principle_runs")).all():
        is_phase = _PHASE.fullmatch(told) is not None
        values = {"phase": told if is_phase else None, "message": "" if is_phase else told}
        connection.execute(update, {**values, "id": run_id})
    op.drop_column("principle_runs", "told")


def downgrade() -> None:
    op.add_column("principle_runs", sa.Column("told", sa.Text(), nullable=False, server_default=""))
    # A run says either where it is or what it waits for, so that nothing is left out here.
    op.execute("UPDATE principle_runs SET told = COALESCE(phase, message)")
    op.drop_column("principle_runs", "message")
    op.drop_column("principle_runs", "phase")
    for table in ("pair_runs", "principle_runs"):
        op.add_column(table, sa.Column("player_host", sa.String(255), nullable=True))
        op.add_column(table, sa.Column("player_pid", sa.Integer(), nullable=True))
        op.add_column(table, sa.Column("player_start", sa.String(80), nullable=True))
        op.add_column(table, sa.Column("beat_at", sa.DateTime(), nullable=True))
        op.add_column(table, sa.Column("stop_wished", sa.Boolean(), nullable=False, server_default=sa.false()))
