"""The page of judges: what there is, make one, compare two, let one score, and the endpoints they ask."""

import gradio as gr

from backend.services import Services
from ui import judges_editor, judges_endpoints, judges_list, judges_runs
from ui.say import Translator
from ui.widgets import html_block, page_title


def build_page(services: Services, translate: Translator) -> None:
    """Five tabs, each in a file of its own."""
    html_block(
        page_title(
            translate("裁判", "Judges"),
            translate(
                "接一个模型，写下原则，它就成了裁判。先拿几条祝福试试，再让它评一个数据集，"
                "最后到“一致性”看它和人有多像。没给出评判的叫“未评”，从不当作 0 分。",
                "Connect a model, write down principles, and it is a judge. Try it on a few greetings, let "
                "it score a data set, then see under Agreement how close it is to people. What it leaves "
                "open is “unscored”, never 0.",
            ),
        )
    )
    with gr.Tabs():
        with gr.Tab(translate("全部裁判", "All judges"), id="all") as judges_tab:
            judges_list.build_list_tab(services, translate, judges_tab)
        with gr.Tab(translate("新建与试用", "Make and try"), id="edit") as judges_tab:
            judges_editor.build_tab(services, translate, judges_tab)
        with gr.Tab(translate("并排看理由", "Side by side"), id="beside") as judges_tab:
            judges_list.build_comparison_tab(services, translate, judges_tab)
        with gr.Tab(translate("评判任务", "Scoring runs"), id="runs") as judges_tab:
            judges_runs.build_tab(services, translate, judges_tab)
        with gr.Tab(translate("模型端点", "Endpoints"), id="endpoints") as judges_tab:
            judges_endpoints.build_tab(services, translate, judges_tab)
