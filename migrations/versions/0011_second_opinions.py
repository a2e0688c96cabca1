"""a second judge for the candidates of a run whose pairs balance would keep against the odds

Revision: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("candidates") as table:
        table.add_column(sa.Column("twice", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("pair_runs") as table:
        table.add_column(sa.Column("second_judge_id", sa.Integer(), nullable=True))
        table.create_foreign_key(op.f("fk_pair_runs_second_judge_id_raters"), "raters", ["second_judge_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("pair_runs") as table:
        table.drop_constraint(op.f("fk_pair_runs_second_judge_id_raters"), type_="foreignkey")
        table.drop_column("second_judge_id")
    with op.batch_alter_table("candidates") as table:
        table.drop_column("twice")
