"""The archive on the page: the tree, one version, its diff, writing by hand, going back, publishing."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.core.enums import Role
from backend.core.errors import UserError
from backend.core.text import parse_row_number
from backend.judges.criteria import MAX_RULES, numbered_rules
from backend.principles.archive import EarlierVersion
from backend.principles.records import VersionInfo
from backend.services import Services
from ui.components.judges import endpoint_choices
from ui.components.language import Translator
from ui.components.run_watcher import SILENT_EVENT
from ui.components.templates import render
from ui.components.widgets import (
    ROW_CLICK,
    caption_html,
    fill_tab,
    friendly_errors,
    html_block,
    link_html,
    note,
    row_click_script,
)
from ui.principles.figures import comparison_html
from ui.principles.names import label_choices, version_label
from ui.principles.versions import diff_html, rules_card, version_tree

# A comparison asks a model about every label twice: minutes, of which nobody misses three seconds.
POLL_SECONDS = 3.0
NO_VERSION_CHOSEN = UserError("Choose a version first.", "请先选一个版本。")


def build_tab(services: Services, translate: Translator, archive_tab: gr.Tab) -> None:
    """The tree left, a version and what can be done with it right."""
    with gr.Row():
        with gr.Column(scale=2):
            role_radio = gr.Radio(
                label=translate("哪一类", "Which"),
                choices=[(principle_role.value, principle_role.value) for principle_role in Role],
                value=Role.DETECTOR.value,
                elem_id="zf-tree-role",
            )
            # Choosing a version draws the tree anew, and a plain click on what was just replaced would be lost.
            tree_block = html_block(elem_id="zf-tree", js_on_load=row_click_script("version"))
        with gr.Column(scale=3):
            version_dropdown = gr.Dropdown(label=translate("看哪一版", "Version"), choices=[], elem_id="zf-version")
            card_block = html_block(elem_id="zf-version-card")
            base_dropdown = gr.Dropdown(
                label=translate("和哪一版比", "Compared with"), choices=[], elem_id="zf-version-base"
            )
            diff_block = html_block(elem_id="zf-version-diff")
            message_block = html_block(elem_id="zf-version-told")
            action_blocks = _build_action_blocks(translate)
    archive_view = _ArchiveView(services, translate)
    view_outputs = [tree_block, version_dropdown, base_dropdown]

    @friendly_errors(translate)
    def load_archive(role_name: str, chosen_id: int | None) -> list[Any]:
        tree_text, version_update, base_update = archive_view.tree_choices(role_name, chosen_id)
        if chosen_id is not None and version_update["value"] == chosen_id:
            # Another one may be chosen by the time this answer comes, and would be taken back.
            del version_update["value"]
        return [tree_text, version_update, base_update]

    @friendly_errors(translate)
    def show_version(chosen_id: int | None) -> list[Any]:
        return archive_view.version_card(chosen_id)

    @friendly_errors(translate)
    def compare_versions(chosen_id: int | None, other_id: int | None) -> str:
        return archive_view.rules_diff(chosen_id, other_id)

    @friendly_errors(translate)
    def open_clicked(event: gr.EventData) -> Any:
        version_id = parse_row_number(getattr(event, "version", None))
        return gr.skip() if version_id is None else version_id

    @friendly_errors(translate)
    def mark_chosen(role_name: str, chosen_id: int | None) -> str:
        return archive_view.tree_html(role_name, chosen_id)

    fill_tab(archive_tab, load_archive, view_outputs, [role_radio, version_dropdown])
    # Without the chosen version, which is of the other role.
    role_radio.change(lambda kind: archive_view.tree_choices(kind, None), role_radio, view_outputs, **SILENT_EVENT)
    version_dropdown.change(
        show_version, version_dropdown, [card_block, base_dropdown, action_blocks["rules"]], **SILENT_EVENT
    )
    version_dropdown.change(mark_chosen, [role_radio, version_dropdown], tree_block, **SILENT_EVENT)
    gr.on(
        [version_dropdown.change, base_dropdown.change],
        compare_versions,
        [version_dropdown, base_dropdown],
        diff_block,
        # Two events for one diff: choosing a version sets its parent as the base, and only the last answer
        # knows both.
        trigger_mode="always_last",
        **SILENT_EVENT,
    )
    tree_block.click(open_clicked, None, version_dropdown, **ROW_CLICK)
    _wire_actions(archive_view, translate, action_blocks, role_radio, version_dropdown, message_block, view_outputs)
    _wire_comparison(services, translate, archive_tab, action_blocks, version_dropdown, base_dropdown, message_block)


def _build_action_blocks(translate: Translator) -> dict[str, Any]:
    action_blocks: dict[str, Any] = {}
    with gr.Row():
        action_blocks["author"] = gr.Textbox(
            label=translate("署名（修改、设为当前时）", "Your name (to edit or make current)"),
            max_length=60,
            elem_id="zf-version-author",
        )
        action_blocks["reason"] = gr.Textbox(
            label=translate("理由", "Reason"), max_length=400, elem_id="zf-version-reason"
        )
    with gr.Accordion(translate("发布为裁判", "Publish as a judge"), open=True), gr.Row():
        action_blocks["name"] = gr.Textbox(label=translate("裁判名称", "Name of the judge"), elem_id="zf-publish-name")
        action_blocks["publish"] = gr.Button(translate("发布", "Publish"), variant="primary", elem_id="zf-publish")
    with gr.Accordion(translate("手工修改，成为新版本", "Edit by hand into a new version"), open=False):
        action_blocks["rules"] = gr.Textbox(
            label=translate(f"每行一条，最多 {MAX_RULES} 条", f"One a line, at most {MAX_RULES}"),
            lines=8,
            elem_id="zf-version-rules",
        )
        action_blocks["save"] = gr.Button(translate("存为新版本", "Save as a new version"), elem_id="zf-version-save")
    with gr.Accordion(
        translate("设为当前 · 从这一版再跑 · 在标签上比较", "Make current · run from here · compare on labels"),
        open=False,
    ):
        action_blocks["back"] = gr.Button(translate("设为当前版本", "Make it current"), elem_id="zf-version-back")
        with gr.Row():
            action_blocks["dataset"] = gr.Dropdown(
                label=translate("人的标签", "Human labels"), choices=[], elem_id="zf-fork-data"
            )
            action_blocks["endpoint"] = gr.Dropdown(
                label=translate("模型端点", "Endpoint"), choices=[("", "")], value=""
            )
        with gr.Row():
            action_blocks["fork"] = gr.Button(translate("从这一版再跑一次", "New run from here"), elem_id="zf-fork")
            action_blocks["compare"] = gr.Button(
                translate("两版在这些标签上比较", "Compare the two here"), elem_id="zf-compare"
            )
    action_blocks["compared"] = html_block(elem_id="zf-compared")
    return action_blocks


class _ArchiveView:
    """What the tab shows of the archive."""

    def __init__(self, services: Services, translate: Translator) -> None:
        self._archive, self._translate = services.evolution.archive, translate
        self.evolution = services.evolution

    def tree_choices(self, role_name: str, chosen_id: int | None) -> list[Any]:
        """Tree and dropdowns; the chosen version stays where it is of that role."""
        role_versions = self._archive.versions(agent_role=Role(role_name))
        version_ids = [version_info.id for version_info in role_versions]
        version_choices = [
            (version_label(self._translate, version_info), version_info.id) for version_info in reversed(role_versions)
        ]
        # The newest that was accepted; newer ones may all be rejected proposals.
        default_id = next(
            (version_info.id for version_info in reversed(role_versions) if version_info.accepted),
            version_ids[-1] if version_ids else None,
        )
        selected_id = chosen_id if chosen_id in version_ids else default_id
        return [
            version_tree(self._translate, role_versions, selected_id),
            gr.update(choices=version_choices, value=selected_id),
            # No value: the base follows the version, by `version_card`.
            gr.update(choices=version_choices),
        ]

    def tree_html(self, role_name: str, chosen_id: int | None) -> str:
        """The tree with the chosen version marked."""
        return version_tree(self._translate, self._archive.versions(agent_role=Role(role_name)), chosen_id)

    def version_card(self, chosen_id: int | None) -> list[Any]:
        """A version's card, what to compare it with, and its rules to edit."""
        version_info = self._find_version(chosen_id)
        if version_info is None:
            return ["", gr.update(value=None), ""]
        return [
            rules_card(self._translate, version_info),
            gr.update(value=version_info.parent),
            numbered_rules(version_info.rules.texts),
        ]

    def rules_diff(self, chosen_id: int | None, other_id: int | None) -> str:
        """What became of each rule."""
        if not chosen_id or not other_id:
            return ""
        try:
            diff_lines = self._archive.diff(int(other_id), int(chosen_id))
        except UserError as error:
            return note(self._translate.localize(error), "bad")
        # Else the whole list would stand there unmarked, and look as if nothing had been compared.
        if all(diff_sign == "=" for diff_sign, _ in diff_lines):
            return caption_html(self._translate("没有差别。", "No difference."))
        return diff_html(diff_lines)

    def _find_version(self, chosen_id: int | None) -> VersionInfo | None:
        return self._archive.version(int(chosen_id)) if chosen_id else None

    def publish_judge(self, chosen_id: int | None, judge_name: str) -> tuple[str, Any]:
        """Keep it as a judge: what to tell, and the name to offer next where this one cannot be."""
        translate = self._translate
        judges_link = " " + link_html(f"/{translate.lang}/judges", translate("去“裁判”页", "open Judges"))
        try:
            if not chosen_id:
                raise NO_VERSION_CHOSEN
            published = self._archive.publish(int(chosen_id), judge_name or "")
        # Before UserError, of which it is one: it knows a name that is free.
        except EarlierVersion as error:
            return note(translate.localize(error), "warn") + judges_link, error.free_name
        except UserError as error:
            return note(translate.localize(error), "bad"), gr.skip()
        message = translate(
            f"已发布为裁判“{published.name}”（版本 {published.version}），到“裁判”页就能用它评判。",
            f"Published as “{published.name}” (version {published.version}); let it score under Judges.",
        )
        return note(message, "ok") + judges_link, gr.skip()

    def save_edit(self, chosen_id: int, rules_text: str, author_name: str, reason: str) -> tuple[int, str]:
        """A new version by hand."""
        new_version = self._archive.edit(chosen_id, (rules_text or "").splitlines(), author_name or "", reason or "")
        return new_version.id, self._translate(f"已存为 v{new_version.id}。", f"Saved as v{new_version.id}.")

    def make_current(self, chosen_id: int, author_name: str, reason: str) -> str:
        """Make it current."""
        current_version = self._archive.mark(chosen_id, author_name or "", reason or "")
        return self._translate(
            f"v{current_version.id} 现在是当前的 {current_version.role}。",
            f"v{current_version.id} is the current {current_version.role} now.",
        )

    def fork_run(self, chosen_id: int, dataset_name: str, endpoint_name: str) -> str:
        """A new run from it."""
        if not dataset_name:
            raise UserError("Choose labels for the new run.", "请为新的运行选择标签。")
        run_info = self.evolution.fork(chosen_id, dataset_name, None, endpoint_name or None)
        return self._translate(
            f"运行 {run_info.id} 已加入队列，到“对局”里看。",
            f"Run {run_info.id} is queued; watch it under “The game”.",
        )


def _wire_actions(
    archive_view: _ArchiveView,
    translate: Translator,
    action_blocks: dict[str, Any],
    role_radio: gr.Radio,
    version_dropdown: gr.Dropdown,
    message_block: gr.HTML,
    view_outputs: Sequence[Any],
) -> None:
    signature_boxes = [action_blocks["author"], action_blocks["reason"]]

    def action_handler(version_action: Any) -> Any:
        @friendly_errors(translate)
        def handle_click(role_name: str, chosen_id: int | None, *action_arguments: Any) -> list[Any]:
            try:
                if not chosen_id:
                    raise NO_VERSION_CHOSEN
                action_result = version_action(int(chosen_id), *action_arguments)
            except UserError as error:
                return [note(translate.localize(error), "bad"), *([gr.skip()] * len(view_outputs))]
            current_id, message = action_result if isinstance(action_result, tuple) else (int(chosen_id), action_result)
            return [note(message, "ok"), *archive_view.tree_choices(role_name, current_id)]

        return handle_click

    # Each writes a row of its own: the archive is append-only, so none of them needs to ask first.
    for action_name, act, input_boxes in (
        ("save", archive_view.save_edit, [action_blocks["rules"], *signature_boxes]),
        ("back", archive_view.make_current, signature_boxes),
        ("fork", archive_view.fork_run, [action_blocks["dataset"], action_blocks["endpoint"]]),
    ):
        action_blocks[action_name].click(
            action_handler(act),
            [role_radio, version_dropdown, *input_boxes],
            [message_block, *view_outputs],
            queue=False,
        )

    @friendly_errors(translate)
    def publish_chosen(chosen_id: int | None, judge_name: str) -> list[Any]:
        return list(archive_view.publish_judge(chosen_id, judge_name))

    action_blocks["publish"].click(
        publish_chosen,
        [version_dropdown, action_blocks["name"]],
        [message_block, action_blocks["name"]],
        queue=False,
    )


def _wire_comparison(
    services: Services,
    translate: Translator,
    archive_tab: gr.Tab,
    action_blocks: dict[str, Any],
    version_dropdown: gr.Dropdown,
    base_dropdown: gr.Dropdown,
    message_block: gr.HTML,
) -> None:
    comparison_state, poll_timer = gr.State(None), gr.Timer(POLL_SECONDS, active=False)
    label_boxes = [action_blocks["dataset"], action_blocks["endpoint"]]

    @friendly_errors(translate)
    def load_choices() -> list[Any]:
        return [
            gr.update(choices=label_choices(services, translate)),
            gr.update(choices=endpoint_choices(services, translate)),
        ]

    @friendly_errors(translate)
    def begin_comparison(
        chosen_id: int | None, other_id: int | None, dataset_name: str, endpoint_name: str
    ) -> list[Any]:
        try:
            if not chosen_id or not other_id or not dataset_name:
                raise UserError("Choose two versions and labels.", "请选两个版本和一份标签。")
            comparison = services.evolution.comparisons.submit(
                int(other_id), int(chosen_id), dataset_name, endpoint_name or None
            )
        except UserError as error:
            return [note(translate.localize(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        return ["", comparison.id, comparison_html(translate, None), gr.update(active=True)]

    @friendly_errors(translate)
    def poll_comparison(comparison_id: int | None) -> list[Any]:
        if not comparison_id:
            # The state is gone after a restart of the server, while the timer of the open page runs on.
            return [gr.skip(), gr.update(active=False)]
        comparison = services.evolution.comparisons.comparison(int(comparison_id))
        comparison_job = services.jobs.job(comparison.job) if comparison.job else None
        # The job may have died without a result, which nobody would bring any more.
        if comparison.result is None and comparison_job is not None and comparison_job.ended:
            failure_text = (
                translate.localize(comparison_job.error)
                if comparison_job.error
                else translate("比较没有完成。", "The comparison did not finish.")
            )
            return [note(failure_text, "bad"), gr.update(active=False)]
        if comparison.result is None:
            return [gr.skip(), gr.skip()]
        heading = translate(f"在“{comparison.dataset}”上", f"On “{comparison.dataset}”")
        heading_html = render("principles/templates/heading.html", heading=heading)
        return [heading_html + comparison_html(translate, comparison.result), gr.update(active=False)]

    fill_tab(archive_tab, load_choices, label_boxes)
    action_blocks["compare"].click(
        begin_comparison,
        [version_dropdown, base_dropdown, *label_boxes],
        [message_block, comparison_state, action_blocks["compared"], poll_timer],
        queue=False,
    )
    poll_timer.tick(poll_comparison, comparison_state, [action_blocks["compared"], poll_timer], **SILENT_EVENT)
