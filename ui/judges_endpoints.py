"""Endpoints: where models answer, what they cost, and whether they do. A key is entered, never shown."""

import asyncio
from typing import Any

import gradio as gr
from pydantic import SecretStr

from backend.errors import UserError
from backend.llm.checks import EndpointInput
from backend.llm.endpoint import SchemaMode
from backend.llm.service import EndpointInfo
from backend.services import Services
from ui.say import Say
from ui.widgets import empty, esc, fill_tab, html_block, note, polite, sure, table, unless_chosen

NEW = ""


def build(services: Services, say: Say, tab: gr.Tab) -> None:
    """The list, and one form for adding and changing."""
    listed = html_block(elem_id="zf-endpoints")
    which = gr.Dropdown(
        label=say("添加或修改", "Add or change"),
        choices=[(say("新端点", "A new one"), NEW)],
        value=NEW,
        elem_id="zf-endpoint-which",
    )
    form = [*_where(say), *_how(say)]
    with gr.Row():
        save = gr.Button(say("保存", "Save"), variant="primary", elem_id="zf-endpoint-save")
        test = gr.Button(say("测试连接", "Test connection"), elem_id="zf-endpoint-test")
        remove = gr.Button(say("删除", "Delete"), variant="stop", elem_id="zf-endpoint-remove")
    told = html_block(elem_id="zf-endpoint-told")

    @polite(say)
    def load(chosen: str) -> list[Any]:
        names = [info.name for info in services.endpoints.endpoints()]
        options = [(say("新端点", "A new one"), NEW), *((one, one) for one in names)]
        return [_table(services, say), gr.update(choices=options, **unless_chosen(chosen, [NEW, *names]))]

    def listing(chosen: str) -> list[Any]:
        shown, options = load(chosen)
        return [shown, options | {"value": chosen}]

    @polite(say)
    def pick(chosen: str) -> list[Any]:
        info = next((one for one in services.endpoints.endpoints() if one.name == chosen), None)
        if info is None:
            return ["", "", "", "", 0, 0, 16, 60, SchemaMode.AUTO.value]
        numbers = [info.price_in, info.price_out, info.concurrency, info.timeout_s]
        return [info.name, info.base_url, info.model, "", *numbers, info.supports_schema.value]

    @polite(say)
    def store(*given: Any) -> list[Any]:
        try:
            info = services.endpoints.save(_entered(*given))
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip(), gr.skip(), gr.skip()]
        saved = say(f"已保存“{info.name}”。", f"Saved “{info.name}”.")
        return [note(saved, "ok"), *listing(info.name), ""]

    @polite(say)
    def try_out(chosen: str) -> str:
        if not chosen:
            return note(say("请先保存，再选中要测试的端点。", "Save it first, then choose the one to test."))
        try:
            found = asyncio.run(services.endpoints.probe(chosen))
        except UserError as error:
            return note(say.of(error), "bad")
        return note(say.of(found.message), "ok" if found.ok else "bad")

    @polite(say)
    def drop(chosen: str | None) -> list[Any]:
        if chosen is None:
            return [gr.skip()] * 3
        if not chosen:
            return [
                note(say("请先选中要删除的端点。", "Choose the endpoint to delete.")),
                gr.skip(),
                gr.skip(),
            ]
        services.endpoints.delete(chosen)
        return [note(say(f"已删除“{chosen}”。", f"Deleted “{chosen}”."), "ok"), *listing(NEW)]

    fill_tab(tab, load, [listed, which], which)
    which.change(pick, which, form, queue=False, show_progress="hidden")
    save.click(store, form, [told, listed, which, form[3]], queue=False)
    test.click(try_out, which, told)
    question = say("确定删除这个端点吗？已有的评判会留下。", "Delete this endpoint? Verdicts it gave stay.")
    remove.click(drop, which, [told, listed, which], js=sure(question), queue=False)


def _where(say: Say) -> list[Any]:
    with gr.Row():
        name = gr.Textbox(label=say("名称", "Name"), max_length=120, elem_id="zf-endpoint-name")
        url = gr.Textbox(
            label=say("基础地址", "Base URL"),
            placeholder="http://127.0.0.1:11434/v1",
            max_length=500,
            elem_id="zf-endpoint-url",
        )
        model = gr.Textbox(label=say("模型名", "Model"), max_length=200, elem_id="zf-endpoint-model")
        key = gr.Textbox(
            label=say("密钥", "Key"),
            info=say("留空保持原样；保存后不再显示。", "Empty keeps the stored one; never shown again."),
            type="password",
            elem_id="zf-endpoint-key",
        )
    return [name, url, model, key]


def _how(say: Say) -> list[Any]:
    with gr.Row():
        price_in = gr.Number(
            label=say("输入价（每百万 token）", "Price in (per million)"), value=0, minimum=0
        )
        price_out = gr.Number(
            label=say("输出价（每百万 token）", "Price out (per million)"), value=0, minimum=0
        )
        concurrency = gr.Number(label=say("并发", "Concurrency"), value=16, minimum=1, precision=0)
        timeout = gr.Number(label=say("超时（秒）", "Timeout (s)"), value=60, minimum=1)
        schema = gr.Dropdown(
            label=say("JSON schema", "JSON schema"),
            choices=[
                (say("自动", "auto"), SchemaMode.AUTO.value),
                (say("支持", "yes"), SchemaMode.YES.value),
                (say("不支持", "no"), SchemaMode.NO.value),
            ],
            value=SchemaMode.AUTO.value,
        )
    return [price_in, price_out, concurrency, timeout, schema]


def _entered(
    name: str,
    url: str,
    model: str,
    key: str,
    price_in: float | None,
    price_out: float | None,
    concurrency: float | None,
    timeout: float | None,
    schema: str,
) -> EndpointInput:
    return EndpointInput(
        name=name or "",
        base_url=url or "",
        model=model or "",
        api_key=SecretStr(key) if key else None,
        price_in=price_in or 0.0,
        price_out=price_out or 0.0,
        concurrency=int(concurrency or 0),
        timeout_s=timeout or 0.0,
        supports_schema=SchemaMode(schema),
    )


def _table(services: Services, say: Say) -> str:
    found = services.endpoints.endpoints()
    if not found:
        return empty(
            say(
                "还没有端点。任何兼容 OpenAI 接口的服务都可以：云端的、Ollama、vLLM、transformers serve。",
                "No endpoint yet. Any OpenAI-compatible server will do: a cloud, Ollama, vLLM, "
                "transformers serve.",
            )
        )
    head = [
        say("名称", "Name"),
        say("模型", "Model"),
        say("地址", "Address"),
        say("密钥", "Key"),
        say("价格 入/出", "Price in/out"),
        say("并发", "Concurrency"),
        say("超时", "Timeout"),
    ]
    return table(head, [_row(say, info) for info in found], ("zf-text", "zf-text", "zf-text"))


def _row(say: Say, info: EndpointInfo) -> list[str]:
    source = f"<small>{say('来自环境变量', 'from the environment')}</small>" if info.read_only else ""
    return [
        f"<b>{esc(info.name)}</b>{source}",
        esc(info.model),
        esc(info.base_url),
        say("有", "yes") if info.has_key else say("无", "none"),
        f"{info.price_in:g} / {info.price_out:g}",
        str(info.concurrency),
        f"{info.timeout_s:g} s",
    ]
