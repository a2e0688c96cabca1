"""playground: rounds, cards, signals, and which generator wrote a greeting

Revision: 0006
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATES = sa.Enum(
    "waiting",
    "writing",
    "done",
    "failed",
    "stopped",
    name="cardstate",
    native_enum=False,
    create_constraint=True,
    length=24,
)


def upgrade() -> None:
    op.create_table(
        "play_rounds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("visitor", sa.String(length=32), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("wish", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_play_rounds")),
        sa.UniqueConstraint("token", name=op.f("uq_play_rounds_token")),
    )
    with op.batch_alter_table("play_rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_play_rounds_visitor"), ["visitor"], unique=False)

    op.create_table(
        "play_cards",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("generator", sa.String(length=120), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(length=20), nullable=False),
        sa.Column("state", _STATES, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("fault", sa.String(length=24), nullable=False),
        sa.Column("note_en", sa.Text(), nullable=False),
        sa.Column("note_zh", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["play_rounds.id"], name=op.f("fk_play_cards_round_id_play_rounds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_play_cards")),
        sa.UniqueConstraint(
            "round_id",
            "generator",
            "place",
            "version",
            name=op.f("uq_play_cards_round_id_generator_place_version"),
        ),
    )
    with op.batch_alter_table("play_cards", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_play_cards_generator"), ["generator"], unique=False)

    op.create_table(
        "play_signals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("card_id", sa.Integer(), nullable=False),
        sa.Column("visitor", sa.String(length=32), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("value IN (-1, 0, 1)", name=op.f("ck_play_signals_value")),
        sa.ForeignKeyConstraint(["card_id"], ["play_cards.id"], name=op.f("fk_play_signals_card_id_play_cards")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_play_signals")),
        sa.UniqueConstraint("request_id", name=op.f("uq_play_signals_request_id")),
    )
    with op.batch_alter_table("play_signals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_play_signals_card_id"), ["card_id"], unique=False)

    op.create_table(
        "greeting_origins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("greeting_id", sa.Integer(), nullable=False),
        sa.Column("generator", sa.String(length=120), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["greeting_id"], ["greetings.id"], name=op.f("fk_greeting_origins_greeting_id_greetings")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_greeting_origins")),
        sa.UniqueConstraint(
            "greeting_id", "generator", "model", name=op.f("uq_greeting_origins_greeting_id_generator_model")
        ),
    )
    with op.batch_alter_table("greeting_origins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_greeting_origins_generator"), ["generator"], unique=False)


def downgrade() -> None:
    op.drop_table("greeting_origins")
    op.drop_table("play_signals")
    op.drop_table("play_cards")
    op.drop_table("play_rounds")
