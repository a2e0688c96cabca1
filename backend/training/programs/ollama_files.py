"""What lies beside an exported model: Ollama's Modelfile with its chat template in Go, and a README with the commands.

Ollama writes its templates in Go, models bring theirs in Jinja. The parts of a turn are read off what the Jinja
template makes of marked turns, put into a Go template, and compared with the Jinja template on whole conversations:
one that differs anywhere is left out, and Ollama then looks for a known one by the template inside the GGUF.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2

GGUF_FILE = "model.gguf"
MODELFILE = "Modelfile"
Turn = dict[str, str]
_THINKING_SWITCH = "enable_thinking"
_SYSTEM_MARK, _USER_MARK, _REPLY_MARK, _NEXT_MARK = "⁅system⁆", "⁅user⁆", "⁅reply⁆", "⁅next⁆"
# Names of Ollama for the settings of a model's generation_config.json.
_OLLAMA_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repeat_penalty",
}


@dataclass(frozen=True)
class TurnParts:
    """The texts around the turns of a conversation; `default_system` stands where there is no system turn.

    A template without system turns (`has_system`) leaves their text out.
    """

    has_system: bool
    default_system: str
    system_open: str
    system_close: str
    user_open: str
    user_close: str
    history_open: str
    reply_open: str
    reply_close: str

    def render(self, turns: Sequence[Turn]) -> str:
        """A conversation that ends with a request, as the Go template writes it."""
        texts = [] if turns[0]["role"] == "system" else [self.default_system]
        borders = {
            "system": (self.system_open, self.system_close),
            "user": (self.user_open, self.user_close),
            "assistant": (self.history_open, self.reply_close),
        }
        for turn in turns if self.has_system else [turn for turn in turns if turn["role"] != "system"]:
            turn_open, turn_close = borders[turn["role"]]
            texts.append(f"{turn_open}{turn['content']}{turn_close}")
        return "".join([*texts, self.reply_open])

    def without_start(self, start_text: str) -> "TurnParts":
        """The same where `start_text` is put before every conversation by somebody else."""
        return replace(
            self,
            default_system=self.default_system.removeprefix(start_text),
            system_open=self.system_open.removeprefix(start_text),
        )

    def as_go_template(self) -> str:
        """The same for Ollama: by .Messages, as its own library writes chat templates."""
        borders = [("user", self.user_open, self.user_close), ("assistant", self.history_open, self.reply_close)]
        if self.has_system:
            borders.insert(0, ("system", self.system_open, self.system_close))
        branches = [
            f'{{{{ if eq .Role "{role}" }}}}{turn_open}{{{{ .Content }}}}{turn_close}'
            for role, turn_open, turn_close in borders
        ]
        default = f"{{{{ if not .System }}}}{self.default_system}{{{{ end }}}}" if self.default_system else ""
        # “else if” between the branches of one turn.
        all_branches = branches[0] + "".join(branch.replace("{{ if", "{{ else if", 1) for branch in branches[1:])
        return f"{default}{{{{ range .Messages }}}}{all_branches}{{{{ end }}}}{{{{ end }}}}{self.reply_open}"


def read_turn_parts(chat_template: str, special_tokens: Mapping[str, str]) -> TurnParts | None:
    """The parts of a Jinja chat template; None where it cannot be put together from such parts.

    special_tokens: what the template may name (“bos_token”, “eos_token” …).
    """

    def render(*turns: Turn, opens_reply: bool = False) -> str:
        return _render_jinja(chat_template, turns, special_tokens, opens_reply=opens_reply)

    system, user = _turn("system", _SYSTEM_MARK), _turn("user", _USER_MARK)
    reply, following = _turn("assistant", _REPLY_MARK), _turn("user", _NEXT_MARK)
    try:
        before_user, user_close = render(user).split(_USER_MARK)
        _, opened = render(user, opens_reply=True).split(_USER_MARK)
        reply_close = render(user, reply).split(_REPLY_MARK)[1]
        history, next_open = render(user, reply, following).split(_USER_MARK)[1].split(_NEXT_MARK)[0].split(_REPLY_MARK)
        user_open = next_open.removeprefix(reply_close)
        with_system = render(system, user)
        has_system = _SYSTEM_MARK in with_system
        system_open, system_rest = with_system.split(_SYSTEM_MARK) if has_system else ("", user_open + _USER_MARK)
        parts = TurnParts(
            has_system=has_system,
            default_system=before_user.removesuffix(user_open),
            system_open=system_open,
            system_close=system_rest.split(_USER_MARK)[0].removesuffix(user_open),
            user_open=user_open,
            user_close=user_close,
            history_open=history.removeprefix(user_close),
            reply_open=opened.removeprefix(user_close),
            reply_close=reply_close,
        )
        conversations = [[user], [user, reply, following], [user, reply, following, reply, user]]
        conversations += [[system, *conversation] for conversation in conversations]
        is_same = all(parts.render(turns) == render(*turns, opens_reply=True) for turns in conversations)
    # A template may refuse a role, drop a text, or name what a template alone does not know.
    except (ValueError, IndexError, jinja2.TemplateError):
        return None
    texts = [text for text in vars(parts).values() if isinstance(text, str)]
    return parts if is_same and "{{" not in "".join(texts) else None


def build_modelfile(
    parts: TurnParts | None, stop_texts: Sequence[str], generation_settings: Mapping[str, Any], context_length: int
) -> str:
    """Ollama's description of the model: file, template, where to stop, how to sample."""
    lines = [f"FROM ./{GGUF_FILE}"]
    if parts is None:
        lines.append("# No TEMPLATE: Ollama looks for a known one by the chat template inside the GGUF.")
    else:
        lines.append(f'TEMPLATE """{parts.as_go_template()}"""')
    lines += [f'PARAMETER stop "{stop_text}"' for stop_text in stop_texts]
    for setting_name, parameter_name in _OLLAMA_PARAMETERS.items():
        setting = generation_settings.get(setting_name)
        if isinstance(setting, int | float) and setting > 0:
            lines.append(f"PARAMETER {parameter_name} {setting:g}")
    # More than a request and a greeting would only cost memory on a phone.
    lines.append(f"PARAMETER num_ctx {min(context_length, 4096)}")
    return "\n".join(lines) + "\n"


def build_readme(model_name: str, export_format: str, base_model: str | None, notes: Sequence[str], card: str) -> str:
    """The model card of an export: what the hub reads, the commands that run it, and the card of the training."""
    library_name = "transformers" if export_format == "safetensors" else "gguf"
    header = ["---", "language: zh", f"library_name: {library_name}", "pipeline_tag: text-generation"]
    header += [f"base_model: {base_model}"] if base_model else []
    return "\n".join(
        [
            *header,
            "---",
            f"# {model_name}",
            "",
            "一个写中文祝福的小模型，由 Zhufu 训练并导出。",
            "A small model that writes Chinese greetings, trained and exported by Zhufu.",
            "",
            *_usage_lines(model_name, export_format),
            *(f"- {note}" for note in notes),
            "",
            card.strip(),
            "",
        ]
    )


def settle_thinking(chat_template: str, special_tokens: Mapping[str, str]) -> str:
    """The template with thinking switched as it is where nobody says anything, whatever a program then says.

    llama.cpp asks every template that knows the switch to think; a model that has learnt to answer at once would then
    be asked in a way it has never seen.
    """
    if _THINKING_SWITCH not in chat_template:
        return chat_template
    user = _turn("user", _USER_MARK)
    by_default = _render_jinja(chat_template, [user], special_tokens, opens_reply=True)
    for switch in ("false", "true"):
        settled = f"{{%- set {_THINKING_SWITCH} = {switch} %}}{chat_template}"
        if _render_jinja(settled, [user], special_tokens, opens_reply=True) == by_default:
            return settled
    return chat_template


def _render_jinja(
    chat_template: str, turns: Sequence[Turn], special_tokens: Mapping[str, str], *, opens_reply: bool
) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(
        [list(turns)], chat_template=chat_template, add_generation_prompt=opens_reply, **special_tokens
    )
    return str(rendered[0])


def _turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def _usage_lines(model_name: str, export_format: str) -> list[str]:
    if export_format == "ollama":
        return [
            "```sh",
            f"ollama create {model_name} -f {MODELFILE}",
            f'ollama run {model_name} "给奶奶的八十大寿写一句祝福"',
            "```",
            "",
        ]
    if export_format == "gguf":
        return ["```sh", f"llama-server -m {GGUF_FILE} --jinja", "```", ""]
    return [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'model = AutoModelForCausalLM.from_pretrained("{model_name}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{model_name}")',
        "```",
        "",
    ]
