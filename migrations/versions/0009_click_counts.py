"""how often readers clicked on imported greetings

Revision: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "click_counts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("greeting_id", sa.Integer(), nullable=False),
        sa.Column("clicks", sa.Integer(), nullable=False),
        sa.CheckConstraint("clicks >= 0", name=op.f("ck_click_counts_clicks_not_negative")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_click_counts_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["greeting_id"], ["greetings.id"], name=op.f("fk_click_counts_greeting_id_greetings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_click_counts")),
        sa.UniqueConstraint("dataset_id", "greeting_id", name=op.f("uq_click_counts_dataset_id_greeting_id")),
    )
    op.create_index(op.f("ix_click_counts_greeting_id"), "click_counts", ["greeting_id"])


def downgrade() -> None:
    op.drop_table("click_counts")
