"""The page of principles: start a run of the game, watch it, and the archive of what it found."""

from typing import Any

import gradio as gr

from backend.evolution.records import RunInfo
from backend.services import Services
from ui import principles_archive, principles_form
from ui.principles_watch import Watcher, blocks, watching
from ui.say import Say
from ui.widgets import html_block, title


def build(services: Services, say: Say) -> None:
    """Two tabs: the game, and the archive of versions."""
    html_block(
        title(
            say("原则", "Principles"),
            say(
                "生成者藏缺陷，评审找缺陷，复盘者找错因，优化器改原则。一条新规则只有在从没参加过对局的标签上"
                "确实有用，才会留下；封存集只在最后打开一次。",
                "One model hides flaws, another looks for them, a third explains what was missed, a fourth "
                "rewrites the principles. A rule stays only if it helps on labels the game has never seen.",
            ),
        )
    )
    watcher = Watcher(services, say)
    with gr.Tabs():
        with gr.Tab(say("对局", "The game"), id="game") as game:
            with gr.Accordion(say("开始一次运行", "Start a run"), open=True, elem_id="zf-game-form"):
                _, starting = principles_form.build(services, say, game)
            watch = blocks(say)
        with gr.Tab(say("版本", "Versions"), id="archive") as archive:
            principles_archive.build(services, say, archive)

    def show(info: RunInfo) -> list[Any]:
        return watcher.look(watch, info.id, None, choose=True)

    watching(services, say, watch, watcher)
    starting(show, watch.outputs)
