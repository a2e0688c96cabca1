"""Which modules are changed, and which tests guard each: the tests that a change to it must fail.

Tests stand in the order they run, the quickest first, and the first failure ends a trial. Left out: browser
tests, PostgreSQL (the same tests run on SQLite), and files that need minutes.
"""

_GAME = (
    "tests/test_principles_rules.py",
    "tests/test_principles_gate.py",
    "tests/test_principles_steps.py",
    "tests/test_principles_game.py",
)
_REPLIES = ("tests/test_llm_reading.py", "tests/test_llm_parse.py", "tests/test_llm_replies.py")
_ANNOTATION = (
    "tests/test_annotation_leases.py",
    "tests/test_annotation_labels.py",
    "tests/test_annotation_queue.py",
)
_WRITING = ("tests/test_writing_rules.py", "tests/test_writing_wish.py", "tests/test_writing_checks.py")
_COUNTS = tuple(
    f"tests/test_llm_costs.py::{name}"
    for name in (
        "test_a_count_is_believed_where_it_can_be_true",
        "test_a_count_is_found_wherever_servers_put_it",
        "test_counts_of_a_stream_grow_and_one_that_broke_off_is_at_least_the_most",
        "test_embeddings_have_no_output",
        "test_every_outcome_of_an_attempt_counts_as_what_it_can_have_cost",
    )
)


def _agreement(*names: str) -> tuple[str, ...]:
    return ("tests/test_agreement_values.py", *(f"tests/test_agreement_{name}.py" for name in names))


CORES: dict[str, dict[str, tuple[str, ...]]] = {
    "gate and game": {
        "backend/principles/algorithm/gate.py": _GAME,
        "backend/agreement/statistics/paired.py": _GAME,
        "backend/principles/algorithm/labels.py": _GAME,
        "backend/principles/algorithm/rules.py": _GAME,
        "backend/principles/algorithm/agents.py": _GAME,
        "backend/principles/algorithm/draws.py": _GAME,
        "backend/principles/algorithm/game.py": _GAME,
        "backend/principles/algorithm/locked.py": _GAME,
    },
    "agreement": {
        "backend/agreement/statistics/categorical.py": _agreement("alpha", "categorical", "board"),
        "backend/agreement/statistics/judge_rows.py": (
            *_agreement("board", "minimums", "alpha"),
            "tests/test_board_models.py",
        ),
        "backend/agreement/statistics/figures.py": _agreement("bootstrap", "minimums", "board"),
        "backend/agreement/statistics/matched.py": _agreement("matched", "threshold", "board"),
        "backend/agreement/statistics/rank.py": _agreement("rank", "board"),
    },
    "budget": {
        "backend/llm/budget.py": ("tests/test_llm_budget.py", *_COUNTS, "tests/test_llm_client.py"),
        "backend/llm/limiter.py": ("tests/test_llm_limiter.py",),
        "backend/llm/usage.py": ("tests/test_llm_budget.py", *_COUNTS),
    },
    "leases": {
        "backend/annotation/queue.py": _ANNOTATION,
        "backend/annotation/labels.py": (*_ANNOTATION, "tests/test_annotation_api.py"),
        "backend/annotation/undo.py": _ANNOTATION,
    },
    "balance": {
        "backend/preferences/balance.py": ("tests/test_agents.py",),
        "backend/preferences/pairing.py": ("tests/test_agents.py",),
        "backend/preferences/plan.py": ("tests/test_agents.py",),
    },
    "replies": {
        "backend/llm/ask.py": _REPLIES,
        "backend/llm/statements.py": _REPLIES,
        "backend/llm/remarks.py": _REPLIES,
        "backend/llm/phrases.py": _REPLIES,
        "backend/llm/quotations.py": (*_REPLIES, "tests/test_llm_copied.py"),
        "backend/llm/reply.py": (
            "tests/test_llm_reading.py",
            "tests/test_llm_stream.py",
            "tests/test_llm_limits.py",
            "tests/test_llm_hostile.py",
        ),
        "backend/llm/reply_fields.py": _REPLIES,
        "backend/llm/loose_json.py": _REPLIES,
        "backend/llm/fields.py": _REPLIES,
        "backend/llm/member_values.py": _REPLIES,
    },
    "writing": {
        "backend/generation/checks.py": _WRITING,
        "backend/generation/rules.py": _WRITING,
        "backend/generation/request.py": _WRITING,
        "backend/generation/near_duplicates.py": ("tests/test_writing_near.py",),
    },
    "rewards": {
        "backend/training/programs/rewards.py": (
            "tests/test_reward_values.py",
            "tests/test_rewards.py",
            "tests/test_request_fit.py",
        ),
        "backend/training/programs/reward_terms.py": (
            "tests/test_reward_values.py",
            "tests/test_rewards.py",
            "tests/test_request_fit.py",
            "tests/test_rarity.py",
        ),
        "backend/generation/diversity.py": ("tests/test_reward_values.py", "tests/test_diversity.py"),
    },
    "collapse": {
        "backend/training/programs/collapse.py": ("tests/test_monitor.py",),
    },
}
