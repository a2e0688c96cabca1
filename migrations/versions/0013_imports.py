"""imports in many small transactions, whose rows nobody sees before their end

Revision: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# In this order none of them refers to one before it.
_TABLES = (
    "verdicts",
    "click_counts",
    "preference_pairs",
    "dataset_entries",
    "greetings",
    "prompts",
    "raters",
    "datasets",
)


def upgrade() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(120), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_start", sa.String(80), nullable=False),
        sa.Column("beat_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_table(
        "import_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_changes_import_id_imports")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_changes")),
    )
    op.create_index(op.f("ix_import_changes_import_id"), "import_changes", ["import_id"])
    # Without batches, which copy whole tables: a column without a constraint is added in an instant.
    for table in _TABLES:
        op.add_column(table, sa.Column("import_id", sa.Integer(), nullable=True))


def downgrade() -> None:
    for table in _TABLES:
        unfinished = "SELECT id FROM imports WHERE finished_at IS NULL"
        op.execute(f"DELETE FROM {table} WHERE import_id IN ({unfinished})")
    for table in _TABLES:
        op.drop_column(table, "import_id")
    op.drop_index(op.f("ix_import_changes_import_id"), "import_changes")
    op.drop_table("import_changes")
    op.drop_table("imports")
