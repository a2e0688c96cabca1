"""pair runs

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pair_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column(
            "stage",
            sa.Enum(
                "filtering",
                "writing",
                "judging",
                "pairing",
                "done",
                name="stage",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("prompts", sa.JSON(), nullable=False),
        sa.Column("spent", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_pair_runs_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_pair_runs_job_id_jobs")),
        sa.ForeignKeyConstraint(["judge_id"], ["raters.id"], name=op.f("fk_pair_runs_judge_id_raters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pair_runs")),
        sa.UniqueConstraint("name", name=op.f("uq_pair_runs_name")),
    )
    with op.batch_alter_table("pair_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pair_runs_job_id"), ["job_id"], unique=False)

    op.create_table(
        "run_prompts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=True),
        sa.Column("lost", sa.String(length=40), nullable=True),
        sa.Column("exact_chars", sa.Integer(), nullable=True),
        sa.Column("written", sa.Boolean(), nullable=False),
        sa.CheckConstraint("prompt_id IS NULL OR lost IS NULL", name=op.f("ck_run_prompts_kept_or_lost")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_run_prompts_prompt_id_prompts")),
        sa.ForeignKeyConstraint(["run_id"], ["pair_runs.id"], name=op.f("fk_run_prompts_run_id_pair_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_prompts")),
        sa.UniqueConstraint("run_id", "position", name=op.f("uq_run_prompts_run_id_position")),
        sa.UniqueConstraint("run_id", "prompt_id", name=op.f("uq_run_prompts_run_id_prompt_id")),
    )
    with op.batch_alter_table("run_prompts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_prompts_prompt_id"), ["prompt_id"], unique=False)
        batch_op.create_index("ix_run_prompts_run_id_written", ["run_id", "written", "id"], unique=False)

    op.create_table(
        "candidates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("run_prompt_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generator", sa.String(length=120), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("fault", sa.String(length=40), nullable=True),
        sa.Column("greeting_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["greeting_id"], ["greetings.id"], name=op.f("fk_candidates_greeting_id_greetings")),
        sa.ForeignKeyConstraint(["run_id"], ["pair_runs.id"], name=op.f("fk_candidates_run_id_pair_runs")),
        sa.ForeignKeyConstraint(
            ["run_prompt_id"], ["run_prompts.id"], name=op.f("fk_candidates_run_prompt_id_run_prompts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
        sa.UniqueConstraint("run_prompt_id", "slot", name=op.f("uq_candidates_run_prompt_id_slot")),
    )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_candidates_greeting_id"), ["greeting_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_candidates_run_id"), ["run_id"], unique=False)

    op.create_table(
        "run_pairs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("run_prompt_id", sa.Integer(), nullable=False),
        sa.Column("chosen_id", sa.Integer(), nullable=False),
        sa.Column("rejected_id", sa.Integer(), nullable=False),
        sa.Column("difference", sa.Float(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "proposed",
                "checking",
                "review",
                "accepted",
                "flipped",
                "discarded",
                name="pairstate",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("campaign_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("chosen_id <> rejected_id", name=op.f("ck_run_pairs_different")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_run_pairs_campaign_id_campaigns")),
        sa.ForeignKeyConstraint(["chosen_id"], ["candidates.id"], name=op.f("fk_run_pairs_chosen_id_candidates")),
        sa.ForeignKeyConstraint(["rejected_id"], ["candidates.id"], name=op.f("fk_run_pairs_rejected_id_candidates")),
        sa.ForeignKeyConstraint(["run_id"], ["pair_runs.id"], name=op.f("fk_run_pairs_run_id_pair_runs")),
        sa.ForeignKeyConstraint(
            ["run_prompt_id"], ["run_prompts.id"], name=op.f("fk_run_pairs_run_prompt_id_run_prompts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_pairs")),
        sa.UniqueConstraint(
            "run_id", "chosen_id", "rejected_id", name=op.f("uq_run_pairs_run_id_chosen_id_rejected_id")
        ),
    )
    with op.batch_alter_table("run_pairs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_pairs_campaign_id"), ["campaign_id"], unique=False)
        batch_op.create_index("ix_run_pairs_run_id_state", ["run_id", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_run_pairs_run_prompt_id"), ["run_prompt_id"], unique=False)

    op.create_table(
        "pair_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "proposed",
                "checking",
                "review",
                "accepted",
                "flipped",
                "discarded",
                name="pairstate",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column(
            "decided_by",
            sa.Enum(
                "panel",
                "people",
                "person",
                name="decider",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["run_pairs.id"], name=op.f("fk_pair_decisions_pair_id_run_pairs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pair_decisions")),
    )
    with op.batch_alter_table("pair_decisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pair_decisions_pair_id"), ["pair_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("pair_decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pair_decisions_pair_id"))

    op.drop_table("pair_decisions")
    with op.batch_alter_table("run_pairs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_pairs_run_prompt_id"))
        batch_op.drop_index("ix_run_pairs_run_id_state")
        batch_op.drop_index(batch_op.f("ix_run_pairs_campaign_id"))

    op.drop_table("run_pairs")
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_candidates_run_id"))
        batch_op.drop_index(batch_op.f("ix_candidates_greeting_id"))

    op.drop_table("candidates")
    with op.batch_alter_table("run_prompts", schema=None) as batch_op:
        batch_op.drop_index("ix_run_prompts_run_id_written")
        batch_op.drop_index(batch_op.f("ix_run_prompts_prompt_id"))

    op.drop_table("run_prompts")
    with op.batch_alter_table("pair_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pair_runs_job_id"))

    op.drop_table("pair_runs")
