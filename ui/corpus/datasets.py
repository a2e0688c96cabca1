"""The table of data sets, and what formats of files are called."""

from markupsafe import Markup

from backend.services import Services
from ui.components.language import FORMAT_NAMES, Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice


def dataset_table(services: Services, translate: Translator) -> Markup:
    datasets = services.corpus.datasets()
    if not datasets:
        return empty_notice(translate("还没有数据，请先导入。", "No data yet; import some."))
    header_cells = [
        translate("数据集", "Data set"),
        translate("格式", "Kind"),
        translate("请求", "Prompts"),
        translate("祝福", "Greetings"),
        translate("偏好对", "Pairs"),
        translate("标签", "Labels"),
    ]
    return render(
        "corpus/templates/datasets.html",
        translate=translate,
        header_cells=header_cells,
        dataset_lines=[(dataset, format_name(translate, dataset.kind)) for dataset in datasets],
    )


def format_name(translate: Translator, file_format: str | None) -> str:
    return translate(*FORMAT_NAMES[file_format]) if file_format in FORMAT_NAMES else file_format or "–"
