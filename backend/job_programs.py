"""The program of every kind of job: the one place that knows both the queue and what is queued.

It stands above the rooms, and apart from `backend/services.py`, because the worker and the commands that scripts
poll start without loading any service.
"""

from backend.generation.serving import check_serve_config
from backend.jobs.programs import LLM_KEY_VARIABLE, JobProgram, JobProgramRegistry
from backend.training.exporting import EXPORT_KIND, check_export_config
from backend.training.settings import build_config_check

# For base models that the hub gives to those who have signed for them.
HUB_TOKEN_VARIABLE = "HF_TOKEN"

JOB_PROGRAMS = JobProgramRegistry(
    {
        # Judges, pairs and the game ask endpoints, so they get the key; programs that only compute do not.
        "score": JobProgram("backend", ("score",), secret_variables=(LLM_KEY_VARIABLE,)),
        "pairs": JobProgram("backend", ("pairs",), secret_variables=(LLM_KEY_VARIABLE,)),
        "sft": JobProgram(
            "backend.training.programs.sft",
            secret_variables=(HUB_TOKEN_VARIABLE,),
            check_config=build_config_check("sft"),
        ),
        "reward_model": JobProgram(
            "backend.training.programs.reward_model",
            secret_variables=(HUB_TOKEN_VARIABLE,),
            check_config=build_config_check("reward_model"),
        ),
        "dpo": JobProgram(
            "backend.training.programs.dpo",
            secret_variables=(HUB_TOKEN_VARIABLE,),
            check_config=build_config_check("dpo"),
        ),
        "grpo": JobProgram(
            "backend.training.programs.grpo",
            # Its reward may be a judge that asks a model.
            secret_variables=(HUB_TOKEN_VARIABLE, LLM_KEY_VARIABLE),
            check_config=build_config_check("grpo"),
        ),
        "serve": JobProgram(
            "backend.training.programs.serve",
            secret_variables=(HUB_TOKEN_VARIABLE,),
            # A server has no step after which it could stop and go on.
            pausable=False,
            check_config=check_serve_config,
        ),
        EXPORT_KIND: JobProgram(
            "backend.training.programs.export",
            secret_variables=(HUB_TOKEN_VARIABLE,),
            # It starts anew after a stop: what is half written is of no use.
            pausable=False,
            check_config=check_export_config,
        ),
        "principles": JobProgram("backend", ("principles",), secret_variables=(LLM_KEY_VARIABLE,)),
    }
)
"""By the kind that is stored with a job; kinds are never renamed."""
