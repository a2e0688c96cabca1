"""The corpus page: what is here, bring data in, take data out."""

from typing import Any

import gradio as gr

from backend.corpus.export_folders import export_path
from backend.corpus.service import ImportRefused
from backend.errors import UserError
from backend.records import ImportReport, Page, PromptRow
from backend.services import Services
from ui.say import FORMATS, Say
from ui.uploads import uploaded_file
from ui.widgets import empty, esc, fill, html_block, note, polite, table, title

PAGE = 20
FIELDS = ("prompt", "greeting", "label", "chosen", "rejected")
EXPORTS = ("trl", "sharegpt", "csv", "parquet")


def build(services: Services, say: Say) -> None:
    """Three tabs: browse, import, export."""
    html_block(
        title(
            say("语料", "Corpus"),
            say(
                "请求、祝福、偏好对和标签都在这里。导入自动识别格式，同一份文件导两次也不会重复。",
                "Prompts, greetings, preference pairs and labels. Imports recognise the format; "
                "the same file twice adds nothing.",
            ),
        ),
    )
    sets = html_block(elem_id="zf-datasets")
    fill(polite(say)(lambda: _datasets(services, say)), sets)
    with gr.Tabs():
        with gr.Tab(say("浏览", "Browse"), id="browse"):
            _browse(services, say)
        with gr.Tab(say("导入", "Import"), id="import"):
            _import(services, say, sets)
        with gr.Tab(say("导出", "Export"), id="export"):
            _export(services, say)


def _datasets(services: Services, say: Say) -> str:
    found = services.corpus.datasets()
    if not found:
        return empty(say("还没有数据，请先导入。", "No data yet; import some."))
    head = [
        say("数据集", "Data set"),
        say("格式", "Kind"),
        say("请求", "Prompts"),
        say("祝福", "Greetings"),
        say("偏好对", "Pairs"),
        say("标签", "Labels"),
    ]
    rows = [
        [f"<b>{esc(info.name)}</b>", esc(_format(say, info.kind))]
        + [f"{count:,}" for count in (info.prompts, info.greetings, info.pairs, info.labels)]
        for info in found
    ]
    return table(head, rows, ("", "zf-text")) + f'<p class="zf-note">{esc(_writing(say))}</p>'


def _writing(say: Say) -> str:
    return say(
        "训练入门模型时还会用到一份写作语料：为本项目写的三千多个句子（data/starter），"
        "按场合、对象和风格组合成 20,000 条请求与祝福。它不在上表中，不参与标注，也不当作大家喜欢的祝福。",
        "The starter model also learns from a writing corpus: more than 3,500 clauses written for this "
        "project (data/starter), composed into 20,000 requests with greetings. It is not among the data sets "
        "above, nobody annotates it, and it does not count as what people liked.",
    )


def _format(say: Say, kind: str | None) -> str:
    return say(*FORMATS[kind]) if kind in FORMATS else kind or "–"


def _browse(services: Services, say: Say) -> None:
    every = say("全部", "All")
    with gr.Row():
        dataset = gr.Dropdown(label=say("数据集", "Data set"), choices=[(every, "")], value="")
        occasion = gr.Dropdown(label=say("场合", "Occasion"), choices=[(every, "")], value="")
        recipient = gr.Dropdown(label=say("对象", "Recipient"), choices=[(every, "")], value="")
        style = gr.Dropdown(label=say("风格", "Style"), choices=[(every, "")], value="")
        search = gr.Textbox(label=say("包含文字", "Contains"), elem_id="zf-search")
    rows = html_block(elem_id="zf-browse")
    page = gr.State(0)
    with gr.Row():
        back = gr.Button(say("上一页", "Previous"), min_width=100)
        forth = gr.Button(say("下一页", "Next"), min_width=100)
    filters: list[Any] = [dataset, occasion, recipient, style, search]

    @polite(say)
    def load() -> list[Any]:
        facets = services.corpus.facets()
        names = [(info.name, info.name) for info in services.corpus.datasets()]
        return [
            gr.update(choices=[(every, ""), *names]),
            *(
                gr.update(
                    choices=[(every, ""), *((f"{name}（{count}）", name) for name, count in counts.items())]
                )
                for counts in (facets.occasions, facets.recipients, facets.styles)
            ),
        ]

    @polite(say)
    def show(number: int, *chosen: str) -> tuple[str, int]:
        name, on, to, how, words = (value or "" for value in chosen)
        found = services.corpus.browse(
            dataset=name or None,
            occasion=on or None,
            recipient=to or None,
            style=how or None,
            search=words[:100],
            page=max(0, number),
            size=PAGE,
        )
        last = max(0, (found.total - 1) // PAGE)
        if number > last:
            return show(last, *chosen)  # type: ignore[no-any-return]
        return _rows(say, found, number, last), number

    gr.on(None, load, None, [dataset, occasion, recipient, style], queue=False)
    gr.on(None, show, [page, *filters], [rows, page], queue=False)
    gr.on([item.change for item in filters], lambda *a: show(0, *a), filters, [rows, page], queue=False)
    back.click(lambda n, *a: show(max(0, n - 1), *a), [page, *filters], [rows, page], queue=False)
    forth.click(lambda n, *a: show(n + 1, *a), [page, *filters], [rows, page], queue=False)


def _rows(say: Say, found: Page, number: int, last: int) -> str:
    if not found.rows:
        return empty(say("没有符合条件的祝福，换个条件试试。", "Nothing matches; try other filters."))
    head = [say("请求", "Prompt"), say("祝福", "Greetings")]
    body = [
        [
            f"{esc(row.text)}<small>{esc(_tags(row))}</small>",
            _greetings(say, row),
        ]
        for row in found.rows
    ]
    count = say(
        f"共 {found.total:,} 个请求，第 {number + 1} / {last + 1} 页",
        f"{found.total:,} prompts, page {number + 1} of {last + 1}",
    )
    return table(head, body, ("zf-text", "zf-text zf-wide")) + f'<p class="zf-note">{esc(count)}</p>'


def _tags(row: PromptRow) -> str:
    return " · ".join(tag for tag in (row.occasion, row.recipient, row.style) if tag)


def _greetings(say: Say, row: PromptRow) -> str:
    marks: dict[float | None, str] = {1.0: say("好", "good"), 0.0: say("弱", "weak")}
    lines = [
        f'<p><span class="zf-mark">{esc(marks.get(greeting.label, "·"))}</span>{esc(greeting.text)}'
        f' <small class="zf-count">{len(greeting.text)}</small></p>'
        for greeting in row.greetings
    ]
    more = row.greeting_count - len(row.greetings)
    if more > 0:
        lines.append(f"<p><small>{esc(say(f'还有 {more} 条', f'{more} more'))}</small></p>")
    return "".join(lines) or "–"


def _import(services: Services, say: Say, sets: gr.HTML) -> None:
    file = gr.File(
        label=say(
            "拖入文件：JSON、JSONL、CSV、TSV、XLSX、Parquet、TXT（最大 200 MB）",
            "Drop a file: JSON, JSONL, CSV, TSV, XLSX, Parquet, TXT (up to 200 MB)",
        ),
        elem_id="zf-upload",
    )
    preview = html_block()
    with gr.Row():
        name = gr.Textbox(
            label=say("数据集名称（可不填，默认用文件名）", "Data set name (default: the file's name)"),
            elem_id="zf-dataset-name",
        )
        skip = gr.Checkbox(
            label=say(
                "跳过坏行（否则有一行坏就整份不导）", "Skip bad rows (else one bad row refuses the file)"
            ),
            elem_id="zf-skip-bad",
        )
    mapping_title = say("列对应（表格列名认不出时用）", "Column mapping (for unusual tables)")
    with gr.Accordion(mapping_title, open=False), gr.Row():
        columns = [gr.Dropdown(label=field, choices=[""], value="") for field in FIELDS]
    go = gr.Button(say("导入", "Import"), variant="primary", elem_id="zf-import")
    report = html_block(elem_id="zf-import-report")

    @polite(say)
    def look(request: gr.Request, path: str | None) -> list[Any]:
        try:
            if (uploaded := uploaded_file(request, path)) is None:
                return ["", *(gr.update(choices=[""], value="") for _ in FIELDS)]
            seen = services.corpus.preview(uploaded)
        except UserError as error:
            return [note(say.of(error), "bad"), *(gr.update(choices=[""], value="") for _ in FIELDS)]
        zh, en = (f"（{seen.encoding}）", f" ({seen.encoding})") if seen.encoding else ("", "")
        form = _format(say, seen.kind)
        told = (
            note(say(f"识别为：{form}{zh}", f"Recognised as {form}{en}"), "ok")
            if seen.kind
            else note(
                say("认不出各列的含义，请在下面指定。", "The columns are not recognised; map them below.")
            )
        )
        sample = [[esc(str(row.get(column, ""))[:80]) for column in seen.columns] for row in seen.rows]
        shown = (
            table([esc(c) for c in seen.columns], sample, ["zf-text"] * len(seen.columns)) if sample else ""
        )
        return [told + shown, *(gr.update(choices=["", *seen.columns], value="") for _ in FIELDS)]

    @polite(say)
    def run(
        request: gr.Request,
        path: str | None,
        wanted: str,
        skip_bad: bool,
        *mapped: str,
        progress: Any = gr.Progress(),
    ) -> list[Any]:
        mapping = {field: column for field, column in zip(FIELDS, mapped, strict=True) if column}
        try:
            if (uploaded := uploaded_file(request, path)) is None:
                return [note(say("请先选择一个文件。", "Choose a file first.")), gr.skip()]
            done = services.corpus.import_file(
                uploaded,
                dataset=wanted.strip() or None,
                skip_bad=bool(skip_bad),
                mapping=mapping or None,
                progress=lambda share, what: progress(share, desc=what),
            )
        except ImportRefused as refused:
            return [note(say.of(refused), "bad") + _rejected(say, refused.report), gr.skip()]
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip()]
        return [_report(say, done), _datasets(services, say)]

    file.change(look, file, [preview, *columns], queue=False)
    go.click(run, [file, name, skip, *columns], [report, sets], concurrency_limit=1)


def _report(say: Say, done: ImportReport) -> str:
    form = _format(say, done.kind)
    summary = say(
        f"格式：{form}，数据集“{done.dataset}”：读取 {done.read:,} 行，新增 {done.added:,}，"
        f"重复 {done.duplicate:,}，拒绝 {done.rejected:,}。",
        f"Format: {form}, data set “{done.dataset}”: {done.read:,} read, {done.added:,} added, "
        f"{done.duplicate:,} duplicate, {done.rejected:,} rejected.",
    )
    kind = "ok" if not done.rejected else ("warn" if done.added or done.duplicate else "bad")
    return note(summary, kind) + _rejected(say, done)


def _rejected(say: Say, done: ImportReport) -> str:
    # What is wrong with the whole file has no line, and stands above already.
    by_line = [error for error in done.errors if error.line is not None]
    if not by_line:
        return ""
    rows = [[str(error.line), esc(say.of(error.reason))] for error in by_line[:200]]
    return table([say("行", "Line"), say("原因", "Reason")], rows, ("", "zf-text"))


def _export(services: Services, say: Say) -> None:
    with gr.Row():
        what = gr.Radio(
            label=say("内容", "What"),
            choices=[(say("偏好对", "Preference pairs"), "pairs"), (say("标签", "Labels"), "labels")],
            value="pairs",
        )
        fmt = gr.Radio(
            label=say("格式", "Format"), choices=[(_format(say, name), name) for name in EXPORTS], value="trl"
        )
        source = gr.Dropdown(
            label=say("来源", "From"),
            choices=[(say("全部", "Everything"), "")],
            value="",
            elem_id="zf-export-source",
        )
    panel = gr.Checkbox(
        label=say(
            "选“全部”时，也要只有裁判评过的偏好对", "With “Everything”: also pairs that only a judge labelled"
        ),
        elem_id="zf-export-panel",
    )
    go = gr.Button(say("导出", "Export"), variant="primary", elem_id="zf-export")
    report = html_block(elem_id="zf-export-report")
    file = gr.File(label=say("文件", "File"), interactive=False, visible=False, elem_id="zf-export-file")

    @polite(say)
    def load() -> Any:
        sets = [(info.name, f"d:{info.name}") for info in services.corpus.datasets()]
        rounds = [
            (f"{say('任务', 'campaign')} · {info.name}", f"c:{info.name}")
            for info in services.annotation.campaigns()
        ]
        return gr.update(choices=[(say("全部", "Everything"), ""), *sets, *rounds])

    @polite(say)
    def run(content: str, form: str, origin: str, judged: bool) -> list[Any]:
        suffix = {"trl": "jsonl", "sharegpt": "json", "csv": "csv", "parquet": "parquet"}.get(form)
        if suffix is None or content not in ("pairs", "labels"):
            return [note(say("请选择内容和格式。", "Choose content and format.")), gr.update(visible=False)]
        kind, _, name = origin.partition(":")
        try:
            done = services.corpus.export(
                content,
                form,
                export_path(services.settings.home, f"zhufu-{content}-{form}.{suffix}"),
                dataset=name if kind == "d" else None,
                campaign=name if kind == "c" else None,
                panel=bool(judged),
            )
        except UserError as error:
            return [note(say.of(error), "bad"), gr.update(visible=False)]
        splits = " · ".join(f"{split} {rows:,}" for split, rows in done.splits.items())
        told = say(f"已导出 {done.rows:,} 行（{splits}）。", f"{done.rows:,} rows exported ({splits}).")
        judged_out = done.dropped.pop("panel", 0)
        lost = sum(done.dropped.values())
        if lost:
            told += say(f" 为防泄漏或平票未导出 {lost:,} 行。", f" {lost:,} rows left out (ties, leakage).")
        if judged_out:
            told += say(
                f" 只有裁判评过的 {judged_out:,} 对没有导出。",
                f" {judged_out:,} pairs of judges alone left out.",
            )
        return [note(told, "ok"), gr.update(value=str(done.path), visible=True)]

    gr.on(None, load, None, source, queue=False)
    go.click(run, [what, fmt, source, panel], [report, file])
