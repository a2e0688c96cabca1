"""The archive on the page: the tree, one version, its diff, writing by hand, going back, publishing."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.evolution.archive import EarlierVersion
from backend.evolution.records import VersionInfo
from backend.judges.principles import MAX_RULES, numbered
from backend.principles.vocabulary import Role
from backend.services import Services
from backend.text import number_of
from ui.judges_words import endpoint_choices
from ui.principles_figures import comparison_html, rules_card, tree
from ui.principles_log import diff_html
from ui.principles_words import label_choices, version_label
from ui.say import Say
from ui.widgets import ROW, esc, fill_tab, html_block, note, polite

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
POLL_S = 3.0
NOTHING = UserError("Choose a version first.", "请先选一个版本。")
# A poll never replaces the tree, so a plain click is enough.
OPEN = """
element.addEventListener('click', (event) => {
  const node = event.target.closest('[data-version]');
  if (node) trigger('click', { version: node.dataset.version });
});
"""


def build(services: Services, say: Say, tab: gr.Tab) -> None:
    """The tree left, a version and what can be done with it right."""
    with gr.Row():
        with gr.Column(scale=2):
            role = gr.Radio(
                label=say("哪一类", "Which"),
                choices=[(one.value, one.value) for one in Role],
                value=Role.DETECTOR.value,
                elem_id="zf-tree-role",
            )
            shown = html_block(elem_id="zf-tree", js_on_load=OPEN)
        with gr.Column(scale=3):
            which = gr.Dropdown(label=say("看哪一版", "Version"), choices=[], elem_id="zf-version")
            card = html_block(elem_id="zf-version-card")
            base = gr.Dropdown(
                label=say("和哪一版比", "Compared with"), choices=[], elem_id="zf-version-base"
            )
            diff = html_block(elem_id="zf-version-diff")
            told = html_block(elem_id="zf-version-told")
            acts = _acts(say)
    archive = _Archive(services, say)
    looks = [shown, which, base]

    @polite(say)
    def load(kind: str, chosen: int | None) -> list[Any]:
        shown, versions, others = archive.choices(kind, chosen)
        if chosen is not None and versions["value"] == chosen:
            del versions["value"]  # another one may be chosen by the time this answer comes
        return [shown, versions, others]

    @polite(say)
    def take(chosen: int | None) -> list[Any]:
        return archive.version(chosen)

    @polite(say)
    def compare(chosen: int | None, other: int | None) -> str:
        return archive.diff(chosen, other)

    @polite(say)
    def opened(event: gr.EventData) -> Any:
        number = number_of(getattr(event, "version", None))
        return gr.skip() if number is None else number

    @polite(say)
    def mark(kind: str, chosen: int | None) -> str:
        return archive.tree(kind, chosen)

    fill_tab(tab, load, looks, [role, which])
    role.change(lambda kind: archive.choices(kind, None), role, looks, **QUIET)
    which.change(take, which, [card, base, acts["rules"]], **QUIET)
    which.change(mark, [role, which], shown, **QUIET)
    gr.on([which.change, base.change], compare, [which, base], diff, trigger_mode="always_last", **QUIET)
    shown.click(opened, None, which, **ROW)
    _wire(archive, say, acts, role, which, told, looks)
    _comparing(services, say, tab, acts, which, base, told)


def _acts(say: Say) -> dict[str, Any]:
    acts: dict[str, Any] = {}
    with gr.Row():
        acts["author"] = gr.Textbox(
            label=say("署名（修改、设为当前时）", "Your name (to edit or make current)"),
            max_length=60,
            elem_id="zf-version-author",
        )
        acts["reason"] = gr.Textbox(label=say("理由", "Reason"), max_length=400, elem_id="zf-version-reason")
    with gr.Accordion(say("发布为裁判", "Publish as a judge"), open=True), gr.Row():
        acts["name"] = gr.Textbox(label=say("裁判名称", "Name of the judge"), elem_id="zf-publish-name")
        acts["publish"] = gr.Button(say("发布", "Publish"), variant="primary", elem_id="zf-publish")
    with gr.Accordion(say("手工修改，成为新版本", "Edit by hand into a new version"), open=False):
        acts["rules"] = gr.Textbox(
            label=say(f"每行一条，最多 {MAX_RULES} 条", f"One a line, at most {MAX_RULES}"),
            lines=8,
            elem_id="zf-version-rules",
        )
        acts["save"] = gr.Button(say("存为新版本", "Save as a new version"), elem_id="zf-version-save")
    with gr.Accordion(
        say("设为当前 · 从这一版再跑 · 在标签上比较", "Make current · run from here · compare on labels"),
        open=False,
    ):
        acts["back"] = gr.Button(say("设为当前版本", "Make it current"), elem_id="zf-version-back")
        with gr.Row():
            acts["dataset"] = gr.Dropdown(
                label=say("人的标签", "Human labels"), choices=[], elem_id="zf-fork-data"
            )
            acts["endpoint"] = gr.Dropdown(label=say("模型端点", "Endpoint"), choices=[("", "")], value="")
        with gr.Row():
            acts["fork"] = gr.Button(say("从这一版再跑一次", "New run from here"), elem_id="zf-fork")
            acts["compare"] = gr.Button(
                say("两版在这些标签上比较", "Compare the two here"), elem_id="zf-compare"
            )
    acts["compared"] = html_block(elem_id="zf-compared")
    return acts


class _Archive:
    """What the tab shows of the archive."""

    def __init__(self, services: Services, say: Say) -> None:
        self._archive, self._say = services.evolution.archive, say
        self.evolution = services.evolution

    def choices(self, role: str, chosen: int | None) -> list[Any]:
        """Tree and dropdowns; the chosen version stays where it is of that role."""
        found = self._archive.versions(role=Role(role))
        ids = [one.id for one in found]
        named = [(version_label(self._say, one), one.id) for one in reversed(found)]
        best = next((one.id for one in reversed(found) if one.accepted), ids[-1] if ids else None)
        value = chosen if chosen in ids else best
        return [
            tree(self._say, found, value),
            gr.update(choices=named, value=value),
            gr.update(choices=named),
        ]

    def tree(self, role: str, chosen: int | None) -> str:
        """The tree with the chosen version marked."""
        return tree(self._say, self._archive.versions(role=Role(role)), chosen)

    def version(self, chosen: int | None) -> list[Any]:
        """A version's card, what to compare it with, and its rules to edit."""
        one = self._found(chosen)
        if one is None:
            return ["", gr.update(value=None), ""]
        return [rules_card(self._say, one), gr.update(value=one.parent), numbered(one.rules.texts)]

    def diff(self, chosen: int | None, other: int | None) -> str:
        """What became of each rule."""
        if not chosen or not other:
            return ""
        try:
            lines = self._archive.diff(int(other), int(chosen))
        except UserError as error:
            return note(self._say.of(error), "bad")
        if all(sign == "=" for sign, _ in lines):
            return f'<p class="zf-note">{self._say("没有差别。", "No difference.")}</p>'
        return diff_html(lines)

    def _found(self, chosen: int | None) -> VersionInfo | None:
        return self._archive.version(int(chosen)) if chosen else None

    def publish(self, chosen: int | None, name: str) -> tuple[str, Any]:
        """Keep it as a judge: what to tell, and the name to offer next where this one cannot be."""
        say = self._say
        judges = f' <a class="zf-a" href="/{say.lang}/judges">{say("去“裁判”页", "open Judges")}</a>'
        try:
            if not chosen:
                raise NOTHING
            made = self._archive.publish(int(chosen), name or "")
        except EarlierVersion as error:
            return note(say.of(error), "warn") + judges, error.free
        except UserError as error:
            return note(say.of(error), "bad"), gr.skip()
        told = say(
            f"已发布为裁判“{made.name}”（版本 {made.version}），到“裁判”页就能用它评判。",
            f"Published as “{made.name}” (version {made.version}); let it score under Judges.",
        )
        return note(told, "ok") + judges, gr.skip()

    def edit(self, chosen: int, rules: str, author: str, reason: str) -> tuple[int, str]:
        """A new version by hand."""
        made = self._archive.edit(chosen, (rules or "").splitlines(), author or "", reason or "")
        return made.id, self._say(f"已存为 v{made.id}。", f"Saved as v{made.id}.")

    def back(self, chosen: int, author: str, reason: str) -> str:
        """Make it current."""
        made = self._archive.mark(chosen, author or "", reason or "")
        return self._say(
            f"v{made.id} 现在是当前的 {made.role}。", f"v{made.id} is the current {made.role} now."
        )

    def fork(self, chosen: int, dataset: str, endpoint: str) -> str:
        """A new run from it."""
        if not dataset:
            raise UserError("Choose labels for the new run.", "请为新的运行选择标签。")
        info = self.evolution.fork(chosen, dataset, None, endpoint or None)
        return self._say(
            f"运行 {info.id} 已加入队列，到“对局”里看。",
            f"Run {info.id} is queued; watch it under “The game”.",
        )


def _wire(
    archive: _Archive,
    say: Say,
    acts: dict[str, Any],
    role: gr.Radio,
    which: gr.Dropdown,
    told: gr.HTML,
    looks: Sequence[Any],
) -> None:
    signed = [acts["author"], acts["reason"]]

    def handler(act: Any) -> Any:
        @polite(say)
        def handle(kind: str, chosen: int | None, *given: Any) -> list[Any]:
            try:
                if not chosen:
                    raise NOTHING
                said = act(int(chosen), *given)
            except UserError as error:
                return [note(say.of(error), "bad"), *([gr.skip()] * len(looks))]
            now, words = said if isinstance(said, tuple) else (int(chosen), said)
            return [note(words, "ok"), *archive.choices(kind, now)]

        return handle

    for name, act, given in (
        ("save", archive.edit, [acts["rules"], *signed]),
        ("back", archive.back, signed),
        ("fork", archive.fork, [acts["dataset"], acts["endpoint"]]),
    ):
        acts[name].click(handler(act), [role, which, *given], [told, *looks], queue=False)

    @polite(say)
    def publish(chosen: int | None, name: str) -> list[Any]:
        return list(archive.publish(chosen, name))

    acts["publish"].click(publish, [which, acts["name"]], [told, acts["name"]], queue=False)


def _comparing(
    services: Services,
    say: Say,
    tab: gr.Tab,
    acts: dict[str, Any],
    which: gr.Dropdown,
    base: gr.Dropdown,
    told: gr.HTML,
) -> None:
    number, timer = gr.State(None), gr.Timer(POLL_S, active=False)
    offered = [acts["dataset"], acts["endpoint"]]

    @polite(say)
    def load() -> list[Any]:
        return [
            gr.update(choices=label_choices(services, say)),
            gr.update(choices=endpoint_choices(services, say)),
        ]

    @polite(say)
    def begin(chosen: int | None, other: int | None, dataset: str, endpoint: str) -> list[Any]:
        try:
            if not chosen or not other or not dataset:
                raise UserError("Choose two versions and labels.", "请选两个版本和一份标签。")
            made = services.evolution.comparisons.submit(int(other), int(chosen), dataset, endpoint or None)
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        return ["", made.id, comparison_html(say, None), gr.update(active=True)]

    @polite(say)
    def look(made: int | None) -> list[Any]:
        if not made:
            return [gr.skip(), gr.update(active=False)]
        info = services.evolution.comparisons.comparison(int(made))
        job = services.jobs.job(info.job) if info.job else None
        if info.result is None and job is not None and job.ended:
            broken = (
                say.of(job.error) if job.error else say("比较没有完成。", "The comparison did not finish.")
            )
            return [note(broken, "bad"), gr.update(active=False)]
        if info.result is None:
            return [gr.skip(), gr.skip()]
        heading = f"<h4>{esc(say(f'在“{info.dataset}”上', f'On “{info.dataset}”'))}</h4>"
        return [heading + comparison_html(say, info.result), gr.update(active=False)]

    fill_tab(tab, load, offered)
    acts["compare"].click(
        begin, [which, base, *offered], [told, number, acts["compared"], timer], queue=False
    )
    timer.tick(look, number, [acts["compared"], timer], **QUIET)
