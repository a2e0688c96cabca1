"""Prompt templates filled in a single pass, with fences around untrusted text that the text cannot close."""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.core.text import digest
from backend.llm.messages import ChatMessage, ChatRole
from backend.llm.phrases import text_skeleton

_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_EMOJI_RANGES = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\ufe0f"
# Joiners and variation selectors are kept only within emoji, where dropping them would change the picture.
_INVISIBLE_CHARACTERS = re.compile(
    rf"(?<![{_EMOJI_RANGES}])\u200d|\u200d(?![{_EMOJI_RANGES}])|(?<![{_EMOJI_RANGES}#*0-9])[\ufe0e\ufe0f]"
    "|[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_OPENING_ANGLES = "<‹«〈⟨《⟪≪⋘❮❰˂ᐸ"
_CLOSING_ANGLES = ">›»〉⟩》⟫≫⋙❯❱˃ᐳ"
_ANGLE_RUN = re.compile(rf"[{_OPENING_ANGLES}{_CLOSING_ANGLES}](?:[ \t\u3000\n]*[{_OPENING_ANGLES}{_CLOSING_ANGLES}])+")
# Chat templates' special tokens ("<|im_start|>") too: a server that tokenises them would open a turn of their
# own. Lengths are bounded so that a text of opening brackets costs one pass.
_TAG_PATTERN = re.compile(r"<\s*(/?\s*(?:\|[^<>\n]{0,60}\||[a-z_][a-z0-9_]{0,40}[^<>\n]{0,60}))\s*/?>")
_BRACKETED_ROLE = re.compile(r"\[\s*(/?\s*(?:inst|sys|system|user|assistant|available_tools|tool_calls)\s*)\]")
_ROLE_WORDS = "system|user|assistant|human|ai|developer|tool|系统|用户|助手|助理|人类|开发者|工具"
# A base model or a bare template continues a dialogue wherever a line begins like one.
_ROLE_LINE = re.compile(
    rf"^([ \t\u3000#*_>\-\[【(（]*)(?:{_ROLE_WORDS})(?:[ \t]*(?:prompt|message|提示|消息))?[ \t\]】)）*_]*:",
    re.M,
)
_ROLE_HEADING = re.compile(
    rf"^[ \t]*#{{1,6}}[ \t]*(?=(?:{_ROLE_WORDS}|instruction|response|input|指令|回复|输入)\b)", re.M
)


def derive_nonce(fence_key: bytes, identity: str) -> str:
    """The nonce of one request: 16 hexadecimal characters."""
    # Derived and not drawn: the same prompt is the same text each time, so that the preview is what is sent,
    # and whoever writes a greeting cannot guess it without the key (64 bits).
    return hmac.new(fence_key, identity.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def fence_text(untrusted_text: str, nonce: str, label: str = "祝福") -> str:
    """The text between an opening and a closing line that only this nonce makes valid."""
    return f"<<<{label} {nonce} 开始>>>\n{neutralise_text(untrusted_text, nonce)}\n<<<{label} {nonce} 结束>>>"


def neutralise_text(untrusted_text: str, nonce: str = "") -> str:
    """The text with everything made harmless that could pass for a fence or for a role marker.

    Runs of angle brackets (any width) become ‹›, tags and special tokens get 〔〕, lines that begin like a
    role are marked as quoted, invisible characters go. Ordinary greetings come back unchanged.
    """
    # First of all: an invisible character within "<<<" would hide it from the patterns below, not from a
    # model.
    untrusted_text = _INVISIBLE_CHARACTERS.sub("", _LINE_ENDS.sub("\n", untrusted_text))
    untrusted_text = _replace_matches(
        untrusted_text,
        _TAG_PATTERN,
        lambda match: f"〔{match.replace('|', '¦').replace('｜', '¦').strip('<>＜＞')}〕",
    )
    untrusted_text = _replace_matches(untrusted_text, _ANGLE_RUN, _flatten_angles)
    untrusted_text = _replace_matches(untrusted_text, _BRACKETED_ROLE, lambda match: f"〔{match[1:-1]}〕")
    untrusted_text = _replace_matches(untrusted_text, _ROLE_HEADING, lambda match: match.replace("#", "＃"))
    untrusted_text = _replace_matches(untrusted_text, _ROLE_LINE, lambda match: f"（原文）{match}")
    # The nonce last, since the replacements above could join two halves of it.
    return (
        _replace_matches(untrusted_text, re.compile(re.escape(nonce)), lambda match: "…" * len(match))
        if nonce
        else untrusted_text
    )


def _replace_matches(source_text: str, pattern: re.Pattern[str], replacement: Callable[[str], str]) -> str:
    # Patterns look at the skeleton (plain width, lower case), replacements at the text as it was written.
    text_parts, position = [], 0
    for pattern_match in pattern.finditer(text_skeleton(source_text)):
        text_parts += [
            source_text[position : pattern_match.start()],
            replacement(source_text[pattern_match.start() : pattern_match.end()]),
        ]
        position = pattern_match.end()
    return "".join([*text_parts, source_text[position:]])


def _flatten_angles(angle_run: str) -> str:
    return "".join(
        "‹"
        if text_skeleton(angle_mark) in _OPENING_ANGLES
        else "›"
        if text_skeleton(angle_mark) in _CLOSING_ANGLES
        else angle_mark
        for angle_mark in angle_run
    )


PROMPT_FOLDER = Path(__file__).parent / "prompts"
_PLACEHOLDER_PATTERN = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")


@dataclass(frozen=True)
class PromptTemplate:
    """A template and the hash that stands for it in versions and cache keys."""

    name: str
    template_text: str

    @property
    def template_hash(self) -> str:
        """Changes with every character of the text."""
        return digest(self.template_text)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names it wants."""
        return frozenset(_PLACEHOLDER_PATTERN.findall(self.template_text))


@dataclass(frozen=True)
class UntrustedText:
    """A value that comes from outside: it is put into a fence of its own."""

    text: str
    label: str = "祝福"


def load_template(template_name: str, folder: Path = PROMPT_FOLDER) -> PromptTemplate:
    """The template in `folder/name.txt`. Raises FileNotFoundError."""
    return PromptTemplate(template_name, (folder / f"{template_name}.txt").read_text(encoding="utf-8").strip())


def render_template(template: PromptTemplate, **values: str) -> str:
    """The template with its placeholders filled. One pass: braces inside a value are only text.

    Raises ValueError naming the values that are missing or that the template does not know.
    """
    missing_names, unknown_names = (
        template.placeholders - values.keys(),
        values.keys() - template.placeholders,
    )
    if missing_names or unknown_names:
        raise ValueError(f"template {template.name}: missing {sorted(missing_names)}, unknown {sorted(unknown_names)}")
    return _PLACEHOLDER_PATTERN.sub(lambda match: values[match[1]], template.template_text)


# Several texts from outside stand in a fence each, with an empty line between them.
PromptValue = str | UntrustedText | tuple[UntrustedText, ...]


def compose_message(
    template: PromptTemplate, fence_key: bytes, *, role: ChatRole = "user", **values: PromptValue
) -> ChatMessage:
    """A message from a template, with every UntrustedText fenced under a nonce derived with `fence_key`.

    Its identity is the hash of template and values, without the nonce. Raises ValueError as `render_template` does.
    """
    identity = digest(
        template.template_hash,
        *(
            identity_part
            # Sorted, so that the order in which a caller names the values makes no other request of it.
            for value_name in sorted(values)
            for identity_part in _identity_parts(value_name, values[value_name])
        ),
    )
    nonce = derive_nonce(fence_key, identity)
    fenced_values = {value_name: _fence_value(prompt_value, nonce) for value_name, prompt_value in values.items()}
    return ChatMessage(role, render_template(template, **fenced_values), identity)


def _fence_value(prompt_value: PromptValue, nonce: str) -> str:
    if isinstance(prompt_value, str):
        return prompt_value
    untrusted_texts = prompt_value if isinstance(prompt_value, tuple) else (prompt_value,)
    return "\n\n".join(fence_text(untrusted.text, nonce, untrusted.label) for untrusted in untrusted_texts)


def _identity_parts(value_name: str, prompt_value: PromptValue) -> tuple[str, ...]:
    if isinstance(prompt_value, tuple):
        return (value_name, "fences", *(part for text in prompt_value for part in (text.label, text.text)))
    if isinstance(prompt_value, UntrustedText):
        # The two kinds are told apart: fenced and bare, the same value makes two different prompts.
        return (value_name, "fenced", prompt_value.label, prompt_value.text)
    return (value_name, "plain", prompt_value)
