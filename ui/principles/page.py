"""The page of principles: start a run of the game, watch it, and the archive of what it found."""

import gradio as gr

from backend.services import Services
from ui.components.language import Translator
from ui.components.widgets import html_block, page_title
from ui.principles import archive
from ui.principles.form import GameRunForm
from ui.principles.watch import GameRunReader, build_watch_blocks, wire_watch


def build_page(services: Services, translate: Translator) -> None:
    """Two tabs: the game, and the archive of versions."""
    html_block(
        page_title(
            translate("原则", "Principles"),
            translate(
                "生成者藏缺陷，评审找缺陷，复盘者找错因，优化器改原则。一条新规则只有在从没参加过对局的标签上"
                "确实有用，才会留下；封存集只在最后打开一次。",
                "One model hides flaws, another looks for them, a third explains what was missed, a fourth "
                "rewrites the principles. A rule stays only if it helps on labels the game has never seen.",
            ),
        )
    )
    with gr.Tabs():
        with gr.Tab(translate("对局", "The game"), id="game") as game_tab:
            with gr.Accordion(translate("开始一次运行", "Start a run"), open=True, elem_id="zf-game-form"):
                run_form = GameRunForm(services, translate, game_tab)
            watch_blocks = build_watch_blocks(translate)
        with gr.Tab(translate("版本", "Versions"), id="archive") as archive_tab:
            archive.build_tab(services, translate, archive_tab)
    run_watcher = wire_watch(services, translate, watch_blocks, GameRunReader(services, translate))
    run_form.wire_start(run_watcher)
