"""corpus raters labels campaigns

Revision: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.String(length=64), nullable=False),
        sa.Column("occasion", sa.String(length=40), nullable=True),
        sa.Column("recipient", sa.String(length=40), nullable=True),
        sa.Column("style", sa.String(length=40), nullable=True),
        sa.Column(
            "split",
            sa.Enum(
                "train",
                "validation",
                "test",
                name="split",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("text_hash", name=op.f("uq_prompts_text_hash")),
    )
    with op.batch_alter_table("prompts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_prompts_split"), ["split"], unique=False)

    op.create_table(
        "raters",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "human",
                "dataset",
                "judge",
                name="raterkind",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raters")),
        sa.UniqueConstraint("kind", "name", "version", name=op.f("uq_raters_kind_name_version")),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "compare",
                "validate",
                name="campaignkind",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("rubric", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("k >= 1", name=op.f("ck_campaigns_k_positive")),
        sa.ForeignKeyConstraint(["judge_id"], ["raters.id"], name=op.f("fk_campaigns_judge_id_raters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("name", name=op.f("uq_campaigns_name")),
    )
    op.create_table(
        "greetings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "source",
            sa.Enum(
                "human",
                "model",
                "import",
                name="source",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_greetings_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_greetings")),
        sa.UniqueConstraint("prompt_id", "text_hash", name=op.f("uq_greetings_prompt_id_text_hash")),
    )
    with op.batch_alter_table("greetings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_greetings_text_hash"), ["text_hash"], unique=False)

    op.create_table(
        "dataset_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("greeting_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_entries_dataset_id_datasets")),
        sa.ForeignKeyConstraint(
            ["greeting_id"], ["greetings.id"], name=op.f("fk_dataset_entries_greeting_id_greetings")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_dataset_entries_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_entries")),
        sa.UniqueConstraint(
            "dataset_id",
            "prompt_id",
            "greeting_id",
            name=op.f("uq_dataset_entries_dataset_id_prompt_id_greeting_id"),
        ),
    )
    with op.batch_alter_table("dataset_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dataset_entries_greeting_id"), ["greeting_id"], unique=False)
        batch_op.create_index(
            "uq_dataset_entries_prompt_only",
            ["dataset_id", "prompt_id"],
            unique=True,
            sqlite_where=sa.text("greeting_id IS NULL"),
            postgresql_where=sa.text("greeting_id IS NULL"),
        )

    op.create_table(
        "items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("greeting_a_id", sa.Integer(), nullable=False),
        sa.Column("greeting_b_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_items_campaign_id_campaigns")),
        sa.ForeignKeyConstraint(["greeting_a_id"], ["greetings.id"], name=op.f("fk_items_greeting_a_id_greetings")),
        sa.ForeignKeyConstraint(["greeting_b_id"], ["greetings.id"], name=op.f("fk_items_greeting_b_id_greetings")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_items_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.UniqueConstraint(
            "campaign_id",
            "greeting_a_id",
            "greeting_b_id",
            name=op.f("uq_items_campaign_id_greeting_a_id_greeting_b_id"),
        ),
        sa.UniqueConstraint("campaign_id", "position", name=op.f("uq_items_campaign_id_position")),
    )
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_items_greeting_a_id"), ["greeting_a_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_items_greeting_b_id"), ["greeting_b_id"], unique=False)

    op.create_table(
        "preference_pairs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("chosen_id", sa.Integer(), nullable=False),
        sa.Column("rejected_id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.String(length=40), nullable=False),
        sa.Column("flaw", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("chosen_id <> rejected_id", name=op.f("ck_preference_pairs_different")),
        sa.ForeignKeyConstraint(["chosen_id"], ["greetings.id"], name=op.f("fk_preference_pairs_chosen_id_greetings")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_preference_pairs_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_preference_pairs_prompt_id_prompts")),
        sa.ForeignKeyConstraint(
            ["rejected_id"], ["greetings.id"], name=op.f("fk_preference_pairs_rejected_id_greetings")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preference_pairs")),
        sa.UniqueConstraint(
            "dataset_id",
            "chosen_id",
            "rejected_id",
            name=op.f("uq_preference_pairs_dataset_id_chosen_id_rejected_id"),
        ),
    )
    with op.batch_alter_table("preference_pairs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_preference_pairs_prompt_id"), ["prompt_id"], unique=False)

    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("left_id", sa.Integer(), nullable=False),
        sa.Column("right_id", sa.Integer(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "a",
                "b",
                "both_good",
                "both_bad",
                "skip",
                "withdrawn",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("left_id <> right_id", name=op.f("ck_comparisons_different")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_comparisons_item_id_items")),
        sa.ForeignKeyConstraint(["left_id"], ["greetings.id"], name=op.f("fk_comparisons_left_id_greetings")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_comparisons_rater_id_raters")),
        sa.ForeignKeyConstraint(["right_id"], ["greetings.id"], name=op.f("fk_comparisons_right_id_greetings")),
        sa.ForeignKeyConstraint(
            ["supersedes_id"], ["comparisons.id"], name=op.f("fk_comparisons_supersedes_id_comparisons")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("rater_id", "item_id", "revision", name=op.f("uq_comparisons_rater_id_item_id_revision")),
        sa.UniqueConstraint("request_id", name=op.f("uq_comparisons_request_id")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_comparisons_supersedes_id")),
    )
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comparisons_item_id"), ["item_id"], unique=False)

    op.create_table(
        "leases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_leases_campaign_id_campaigns")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_leases_item_id_items")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_leases_rater_id_raters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        sa.UniqueConstraint("item_id", "rater_id", name=op.f("uq_leases_item_id_rater_id")),
        sa.UniqueConstraint("item_id", "slot", name=op.f("uq_leases_item_id_slot")),
    )
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.create_index("ix_leases_campaign_id_done_rater_id", ["campaign_id", "done", "rater_id"], unique=False)

    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("greeting_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column(
            "scale",
            sa.Enum(
                "binary",
                "rubric",
                "score",
                name="scale",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.JSON(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["greeting_id"], ["greetings.id"], name=op.f("fk_verdicts_greeting_id_greetings")),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_verdicts_item_id_items")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_verdicts_rater_id_raters")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["verdicts.id"], name=op.f("fk_verdicts_supersedes_id_verdicts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("rater_id", "item_id", "revision", name=op.f("uq_verdicts_rater_id_item_id_revision")),
        sa.UniqueConstraint("request_id", name=op.f("uq_verdicts_request_id")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_verdicts_supersedes_id")),
    )
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_verdicts_greeting_id"), ["greeting_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_verdicts_item_id"), ["item_id"], unique=False)
        batch_op.create_index(
            "uq_verdicts_outside_campaigns",
            ["rater_id", "greeting_id", "revision"],
            unique=True,
            sqlite_where=sa.text("item_id IS NULL"),
            postgresql_where=sa.text("item_id IS NULL"),
        )

    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("verdict_id", sa.Integer(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_reviews_item_id_items")),
        sa.ForeignKeyConstraint(["rater_id"], ["raters.id"], name=op.f("fk_reviews_rater_id_raters")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["reviews.id"], name=op.f("fk_reviews_supersedes_id_reviews")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name=op.f("fk_reviews_verdict_id_verdicts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("rater_id", "item_id", "revision", name=op.f("uq_reviews_rater_id_item_id_revision")),
        sa.UniqueConstraint("request_id", name=op.f("uq_reviews_request_id")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_reviews_supersedes_id")),
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_item_id"), ["item_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reviews_item_id"))

    op.drop_table("reviews")
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_verdicts_outside_campaigns",
            sqlite_where=sa.text("item_id IS NULL"),
            postgresql_where=sa.text("item_id IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_verdicts_item_id"))
        batch_op.drop_index(batch_op.f("ix_verdicts_greeting_id"))

    op.drop_table("verdicts")
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.drop_index("ix_leases_campaign_id_done_rater_id")

    op.drop_table("leases")
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comparisons_item_id"))

    op.drop_table("comparisons")
    with op.batch_alter_table("preference_pairs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_preference_pairs_prompt_id"))

    op.drop_table("preference_pairs")
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_items_greeting_b_id"))
        batch_op.drop_index(batch_op.f("ix_items_greeting_a_id"))

    op.drop_table("items")
    with op.batch_alter_table("dataset_entries", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_dataset_entries_prompt_only",
            sqlite_where=sa.text("greeting_id IS NULL"),
            postgresql_where=sa.text("greeting_id IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_dataset_entries_greeting_id"))

    op.drop_table("dataset_entries")
    with op.batch_alter_table("greetings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_greetings_text_hash"))

    op.drop_table("greetings")
    op.drop_table("campaigns")
    op.drop_table("raters")
    with op.batch_alter_table("prompts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_prompts_split"))

    op.drop_table("prompts")
    op.drop_table("datasets")
