"""a job may wait for another one to succeed

Revision: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("after_id", sa.Integer(), nullable=True))
        table.create_foreign_key(op.f("fk_jobs_after_id_jobs"), "jobs", ["after_id"], ["id"])
        table.create_index(op.f("ix_jobs_after_id"), ["after_id"])


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.drop_index(op.f("ix_jobs_after_id"))
        table.drop_constraint(op.f("fk_jobs_after_id_jobs"), type_="foreignkey")
        table.drop_column("after_id")
