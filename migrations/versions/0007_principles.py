"""principles

Revision: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "principle_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=120), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("endpoints", sa.JSON(), nullable=False),
        sa.Column("caps", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("labels_hash", sa.String(length=16), nullable=False),
        sa.Column("detector_id", sa.Integer(), nullable=False),
        sa.Column("generator_id", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "paused",
                "waiting",
                "budget",
                "failed",
                "done",
                name="runstate",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("error_en", sa.Text(), nullable=True),
        sa.Column("error_zh", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_principle_runs_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_runs")),
    )
    with op.batch_alter_table("principle_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_principle_runs_labels_hash"), ["labels_hash"], unique=False)

    op.create_table(
        "principle_answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=24), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("there", sa.Boolean(), nullable=False),
        sa.Column("person", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["principle_runs.id"], name=op.f("fk_principle_answers_run_id_principle_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_answers")),
        sa.UniqueConstraint(
            "run_id", "round", "phase", "number", name=op.f("uq_principle_answers_run_id_round_phase_number")
        ),
    )
    op.create_table(
        "principle_steps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=24), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("first_call", sa.Integer(), nullable=False),
        sa.Column("last_call", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["principle_runs.id"], name=op.f("fk_principle_steps_run_id_principle_runs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_steps")),
        sa.UniqueConstraint("run_id", "round", "phase", name=op.f("uq_principle_steps_run_id_round_phase")),
    )
    op.create_table(
        "principles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum("S_D", "S_G", name="role", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("rules_hash", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column(
            "proposer",
            sa.Enum(
                "start",
                "optimiser",
                "gepa",
                "rewrite",
                "person",
                name="proposer",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("author", sa.String(length=120), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["principles.id"], name=op.f("fk_principles_parent_id_principles")),
        sa.ForeignKeyConstraint(["run_id"], ["principle_runs.id"], name=op.f("fk_principles_run_id_principle_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principles")),
    )
    with op.batch_alter_table("principles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_principles_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_principles_rules_hash"), ["rules_hash"], unique=False)
        batch_op.create_index(batch_op.f("ix_principles_run_id"), ["run_id"], unique=False)

    op.create_table(
        "principle_outcomes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("why", sa.String(length=24), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["principle_runs.id"], name=op.f("fk_principle_outcomes_run_id_principle_runs")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["principles.id"], name=op.f("fk_principle_outcomes_version_id_principles")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_outcomes")),
        sa.UniqueConstraint("run_id", "version_id", name=op.f("uq_principle_outcomes_run_id_version_id")),
    )
    with op.batch_alter_table("principle_outcomes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_principle_outcomes_version_id"), ["version_id"], unique=False)

    op.create_table(
        "principle_marks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "role",
            sa.Enum("S_D", "S_G", name="role", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["principles.id"], name=op.f("fk_principle_marks_version_id_principles")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_marks")),
    )
    op.create_table(
        "principle_comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("first_id", sa.Integer(), nullable=False),
        sa.Column("second_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=120), nullable=False),
        sa.Column("endpoint", sa.String(length=120), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["first_id"], ["principles.id"], name=op.f("fk_principle_comparisons_first_id_principles")
        ),
        sa.ForeignKeyConstraint(
            ["second_id"], ["principles.id"], name=op.f("fk_principle_comparisons_second_id_principles")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_principle_comparisons_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principle_comparisons")),
    )


def downgrade() -> None:
    op.drop_table("principle_comparisons")
    op.drop_table("principle_marks")
    with op.batch_alter_table("principle_outcomes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_principle_outcomes_version_id"))

    op.drop_table("principle_outcomes")
    with op.batch_alter_table("principles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_principles_run_id"))
        batch_op.drop_index(batch_op.f("ix_principles_rules_hash"))
        batch_op.drop_index(batch_op.f("ix_principles_parent_id"))

    op.drop_table("principles")
    op.drop_table("principle_steps")
    op.drop_table("principle_answers")
    with op.batch_alter_table("principle_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_principle_runs_labels_hash"))

    op.drop_table("principle_runs")
