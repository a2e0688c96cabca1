"""How requests and greetings are written for a model: its chat template, whether it thinks, the token that ends a turn.

Everything is settled once, on the tokenizer that a program loads, and saved with what it trains. So training, rollouts,
the monitor, a reward model, a server and an exported file write the same text, and nobody has to pass an option on.
"""

import re
from dataclasses import dataclass
from typing import Any

from backend.core.errors import UserError
from backend.training.programs.prompt_template import strip_wrapping
from backend.training.settings import TrainingSettings

# Templates for a base that has none, by the setting `chat_template`; "own" asks for the base's.
STATED_TEMPLATES = {
    # The turns of Qwen's own template without its default system message, tools and thoughts.
    "chatml": (
        "{%- for message in messages %}"
        "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    ),
    # The request on a line of its own and the greeting behind it, for vocabularies without the tokens of ChatML.
    "plain": (
        "{%- for message in messages %}"
        "{%- if message['role'] == 'assistant' %}{{- message['content'] + eos_token }}"
        "{%- else %}{{- message['content'] + '\\n' }}{%- endif %}{%- endfor %}"
    ),
}
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
# Read by the templates of Qwen3, GLM-4.5, Gemma 4, Nemotron 3 and others; where nobody sets it, Qwen3 thinks.
_THINKING_SWITCH = "enable_thinking"
_THINKING_DEFAULT = re.compile(
    rf"\{{%- if {_THINKING_SWITCH} is not defined %\}}\{{%- set {_THINKING_SWITCH} = (?:true|false) %\}}"
    r"\{%- endif %\}"
)
_THOUGHT_OPENING = "<think>"
PROBE_REQUEST, PROBE_GREETING = "给奶奶的生日祝福", "祝您生日快乐"


def settle_chat_format(tokenizer: Any, base_model: str, settings: TrainingSettings) -> None:
    """Give the tokenizer the template, the thinking and the end token that the settings mean.

    Raises UserError for a base without a chat template, or with one that ends no turn.
    """
    if settings.chat_template != "own":
        _use_stated_template(tokenizer, base_model, settings.chat_template)
    if not tokenizer.chat_template:
        raise UserError(
            f"base “{base_model}” has no chat template; set chat_template=chatml (or plain) or use its instruct model.",
            f"base “{base_model}”没有对话模板，请设置 chat_template=chatml（或 plain），或改用它的 Instruct 模型。",
        )
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template["default"]
    tokenizer.chat_template = set_thinking_default(tokenizer.chat_template, thinking=settings.thinking)
    turn_end = find_turn_end(tokenizer)
    if turn_end is None:
        raise UserError(
            f"The chat template of base “{base_model}” puts no token after an answer, so a model would never stop; "
            "set chat_template=chatml (or plain).",
            f"base “{base_model}”的对话模板在回答之后没有结束符，模型将停不下来，"
            "请设置 chat_template=chatml（或 plain）。",
        )
    # A base (no instruct) model's own end token ends documents, which no training row ever shows.
    tokenizer.eos_token = turn_end


def set_thinking_default(chat_template: str, *, thinking: bool) -> str:
    """The template, thinking or not where whoever fills it does not say; as it is where it knows no thinking."""
    own_template = strip_wrapping(chat_template)
    wrapping, own_template = chat_template.removesuffix(own_template), _THINKING_DEFAULT.sub("", own_template)
    if _THINKING_SWITCH not in own_template:
        return chat_template
    default_value = "true" if thinking else "false"
    return (
        f"{wrapping}{{%- if {_THINKING_SWITCH} is not defined %}}{{%- set {_THINKING_SWITCH} = {default_value} %}}"
        f"{{%- endif %}}{own_template}"
    )


def find_turn_end(tokenizer: Any) -> str | None:
    """The special token that the template puts right after an answer; None where there is none."""
    exchange_text = render_exchange(tokenizer, PROBE_REQUEST, PROBE_GREETING)
    closing_text = exchange_text.rpartition(PROBE_GREETING)[2].lstrip()
    closing_ids = tokenizer(closing_text, add_special_tokens=False)["input_ids"] if closing_text else []
    end_token = tokenizer.convert_ids_to_tokens(closing_ids[0]) if closing_ids else None
    return end_token if end_token in {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens} else None


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a greeting: the turn's end first, then what the model itself names."""
    own_end = model.generation_config.eos_token_id
    own_ends = own_end if isinstance(own_end, list) else [] if own_end is None else [own_end]
    return list(dict.fromkeys([tokenizer.eos_token_id, *own_ends]))


def stop_at_turn_end(model: Any, tokenizer: Any) -> None:
    """Let the model stop where the tokenizer's turns end, here and wherever its files are loaded."""
    model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    end_ids = end_token_ids(model, tokenizer)
    model.generation_config.eos_token_id = end_ids if len(end_ids) > 1 else end_ids[0]


def render_request(tokenizer: Any, request: str) -> str:
    """The text that a model goes on from."""
    conversation = [{"role": "user", "content": request}]
    rendered: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return rendered


def render_exchange(tokenizer: Any, request: str, greeting: str) -> str:
    """The whole text of a request and its greeting."""
    conversation = [{"role": "user", "content": request}, {"role": "assistant", "content": greeting}]
    rendered: str = tokenizer.apply_chat_template(conversation, tokenize=False)
    return rendered


def encode_exchange(tokenizer: Any, request: str, greeting: str) -> list[int]:
    """Tokens of a request and its greeting: what a reward model learns from and is scored on, and SFT's rows."""
    token_ids: list[int] = tokenizer(render_exchange(tokenizer, request, greeting), add_special_tokens=False)[
        "input_ids"
    ]
    return token_ids


def find_answer_opening(tokenizer: Any) -> str:
    """What the template itself has written of an answer: an opened or an empty thought, mostly nothing."""
    opening = render_request(tokenizer, PROBE_REQUEST).rpartition(PROBE_REQUEST)[2]
    return opening[opening.index(_THOUGHT_OPENING) :] if _THOUGHT_OPENING in opening else ""


@dataclass(frozen=True)
class EncodedGreeting:
    """A request with its greeting in tokens; the first `request_length` of them are the request's."""

    token_ids: list[int]
    request_length: int

    @property
    def labels(self) -> list[int]:
        """What the loss is taken over: the greeting and its end, -100 elsewhere."""
        return [-100] * self.request_length + self.token_ids[self.request_length :]


def encode_greeting(tokenizer: Any, request: str, greeting: str) -> EncodedGreeting:
    """One row of SFT. The greeting begins where the tokens leave those of the request alone."""
    request_ids = tokenizer(render_request(tokenizer, request), add_special_tokens=False)["input_ids"]
    exchange_ids = encode_exchange(tokenizer, request, greeting)
    request_length = 0
    # As TRL finds it: tokens may merge across the border, and some templates write an answer's beginning differently.
    for request_id, exchange_id in zip(request_ids, exchange_ids, strict=False):
        if request_id != exchange_id:
            break
        request_length += 1
    return EncodedGreeting(exchange_ids, request_length)


def _use_stated_template(tokenizer: Any, base_model: str, template_name: str) -> None:
    if template_name == "chatml" and not set(CHATML_TOKENS) <= set(tokenizer.get_vocab()):
        raise UserError(
            f"chat_template = chatml, but base “{base_model}” has no tokens {' '.join(CHATML_TOKENS)}; "
            "set chat_template=plain.",
            f"chat_template = chatml，但 base “{base_model}”没有 {' '.join(CHATML_TOKENS)} 这两个词元，请改为 plain。",
        )
    if template_name == "plain" and tokenizer.eos_token is None:
        raise UserError(
            f"chat_template = plain, but the tokenizer of base “{base_model}” names no end token; use another base.",
            f"chat_template = plain，但 base “{base_model}”的分词器没有结束符，请换一个 base。",
        )
    tokenizer.chat_template = STATED_TEMPLATES[template_name]
