"""Endpoints: where models answer, what they cost, and whether they do. A key is entered, never shown."""

import asyncio
from typing import Any

import gradio as gr
from markupsafe import Markup
from pydantic import SecretStr

from backend.core.errors import UserError
from backend.llm.endpoints import EndpointInfo, EndpointInput
from backend.llm.messages import SchemaMode
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import (
    confirm_script,
    default_choice,
    empty_notice,
    fill_tab,
    friendly_errors,
    html_block,
    note,
)

NEW_ENDPOINT = ""
# What the boxes hold for an endpoint that is to be added.
NEW_ENDPOINT_VALUES: dict[str, Any] = {
    **dict.fromkeys(("name", "base_url", "model", "secret_key"), ""),
    **dict.fromkeys(("price_in", "price_out"), 0),
    "concurrency": 16,
    "timeout_s": 60,
    "schema_mode": SchemaMode.AUTO.value,
}


def build_tab(services: Services, translate: Translator, endpoints_tab: gr.Tab) -> None:
    """The list, and one form for adding and changing."""
    endpoint_list = html_block(elem_id="zf-endpoints")
    endpoint_choice = gr.Dropdown(
        label=translate("添加或修改", "Add or change"),
        choices=[(translate("新端点", "A new one"), NEW_ENDPOINT)],
        value=NEW_ENDPOINT,
        elem_id="zf-endpoint-which",
    )
    endpoint_form = BoxForm(**_address_boxes(translate), **_limit_boxes(translate))
    with gr.Row():
        save_button = gr.Button(translate("保存", "Save"), variant="primary", elem_id="zf-endpoint-save")
        test_button = gr.Button(translate("测试连接", "Test connection"), elem_id="zf-endpoint-test")
        delete_button = gr.Button(translate("删除", "Delete"), variant="stop", elem_id="zf-endpoint-remove")
    message_block = html_block(elem_id="zf-endpoint-told")

    @friendly_errors(translate)
    def load_endpoints(chosen_name: str) -> list[Any]:
        endpoint_names = [endpoint.name for endpoint in services.endpoints.endpoints()]
        endpoint_options = [
            (translate("新端点", "A new one"), NEW_ENDPOINT),
            *((endpoint_name, endpoint_name) for endpoint_name in endpoint_names),
        ]
        return [
            _endpoint_table(services, translate),
            gr.update(choices=endpoint_options, **default_choice(chosen_name, [NEW_ENDPOINT, *endpoint_names])),
        ]

    def select_endpoint(chosen_name: str) -> list[Any]:
        table_html, choice_update = load_endpoints(chosen_name)
        # Set by force here, unlike when the tab is shown: who has saved or deleted means that one.
        return [table_html, choice_update | {"value": chosen_name}]

    @friendly_errors(translate)
    def fill_form(chosen_name: str) -> dict[Any, Any]:
        chosen_infos = [endpoint for endpoint in services.endpoints.endpoints() if endpoint.name == chosen_name]
        return endpoint_form.fill(_endpoint_values(chosen_infos[0]) if chosen_infos else NEW_ENDPOINT_VALUES)

    @friendly_errors(translate)
    @endpoint_form.named
    def save_endpoint(entered: EnteredValues) -> dict[Any, Any]:
        try:
            endpoint_info = services.endpoints.save(_endpoint_input(entered))
        except UserError as error:
            return {message_block: note(translate.localize(error), "bad")}
        saved_message = translate(f"已保存“{endpoint_info.name}”。", f"Saved “{endpoint_info.name}”.")
        table_html, choice_update = select_endpoint(endpoint_info.name)
        return {
            message_block: note(saved_message, "ok"),
            endpoint_list: table_html,
            endpoint_choice: choice_update,
            # A key is not kept in the browser once it is stored.
            **endpoint_form.fill({"secret_key": ""}),
        }

    @friendly_errors(translate)
    def test_endpoint(chosen_name: str) -> Markup:
        if not chosen_name:
            return note(translate("请先保存，再选中要测试的端点。", "Save it first, then choose the one to test."))
        try:
            # Gradio calls handlers in threads, which have no event loop.
            probe_result = asyncio.run(services.endpoints.probe(chosen_name))
        except UserError as error:
            return note(translate.localize(error), "bad")
        return note(translate.localize(probe_result.message), "ok" if probe_result.ok else "bad")

    @friendly_errors(translate)
    def delete_endpoint(chosen_name: str | None) -> list[Any]:
        # The browser asked first, and the answer was no.
        if chosen_name is None:
            return [gr.skip()] * 3
        if not chosen_name:
            return [
                note(translate("请先选中要删除的端点。", "Choose the endpoint to delete.")),
                gr.skip(),
                gr.skip(),
            ]
        services.endpoints.delete(chosen_name)
        return [
            note(translate(f"已删除“{chosen_name}”。", f"Deleted “{chosen_name}”."), "ok"),
            *select_endpoint(NEW_ENDPOINT),
        ]

    fill_tab(endpoints_tab, load_endpoints, [endpoint_list, endpoint_choice], endpoint_choice)
    endpoint_choice.change(fill_form, endpoint_choice, endpoint_form.outputs, queue=False, show_progress="hidden")
    saved_blocks = [message_block, endpoint_list, endpoint_choice, endpoint_form["secret_key"]]
    save_button.click(save_endpoint, endpoint_form.inputs, saved_blocks, queue=False)
    # Through the queue: a server that does not answer holds this up to its timeout.
    test_button.click(test_endpoint, endpoint_choice, message_block)
    question = translate("确定删除这个端点吗？已有的评判会留下。", "Delete this endpoint? Verdicts it gave stay.")
    delete_button.click(
        delete_endpoint,
        endpoint_choice,
        [message_block, endpoint_list, endpoint_choice],
        js=confirm_script(question),
        queue=False,
    )


def _address_boxes(translate: Translator) -> dict[str, Any]:
    with gr.Row():
        name_box = gr.Textbox(label=translate("名称", "Name"), max_length=120, elem_id="zf-endpoint-name")
        url_box = gr.Textbox(
            label=translate("基础地址", "Base URL"),
            placeholder="http://127.0.0.1:11434/v1",
            max_length=500,
            elem_id="zf-endpoint-url",
        )
        model_box = gr.Textbox(label=translate("模型名", "Model"), max_length=200, elem_id="zf-endpoint-model")
        key_box = gr.Textbox(
            label=translate("密钥", "Key"),
            info=translate("留空保持原样；保存后不再显示。", "Empty keeps the stored one; never shown again."),
            type="password",
            elem_id="zf-endpoint-key",
        )
    return {"name": name_box, "base_url": url_box, "model": model_box, "secret_key": key_box}


def _limit_boxes(translate: Translator) -> dict[str, Any]:
    with gr.Row():
        input_price_box = gr.Number(
            label=translate("输入价（每百万 token）", "Price in (per million)"), value=0, minimum=0
        )
        output_price_box = gr.Number(
            label=translate("输出价（每百万 token）", "Price out (per million)"), value=0, minimum=0
        )
        concurrency_box = gr.Number(label=translate("并发", "Concurrency"), value=16, minimum=1, precision=0)
        timeout_box = gr.Number(label=translate("超时（秒）", "Timeout (s)"), value=60, minimum=1)
        schema_choice = gr.Dropdown(
            label=translate("JSON schema", "JSON schema"),
            choices=[
                (translate("自动", "auto"), SchemaMode.AUTO.value),
                (translate("支持", "yes"), SchemaMode.YES.value),
                (translate("不支持", "no"), SchemaMode.NO.value),
            ],
            value=SchemaMode.AUTO.value,
        )
    return {
        "price_in": input_price_box,
        "price_out": output_price_box,
        "concurrency": concurrency_box,
        "timeout_s": timeout_box,
        "schema_mode": schema_choice,
    }


def _endpoint_input(entered: EnteredValues) -> EndpointInput:
    return EndpointInput(
        name=entered["name"] or "",
        base_url=entered["base_url"] or "",
        model=entered["model"] or "",
        # None and not an empty key: the stored one stays, which the browser never gets to send back.
        api_key=SecretStr(entered["secret_key"]) if entered["secret_key"] else None,
        price_in=entered["price_in"] or 0.0,
        price_out=entered["price_out"] or 0.0,
        concurrency=int(entered["concurrency"] or 0),
        timeout_s=entered["timeout_s"] or 0.0,
        supports_schema=SchemaMode(entered["schema_mode"]),
    )


def _endpoint_values(endpoint_info: EndpointInfo) -> dict[str, Any]:
    """What the boxes hold for a stored endpoint; its key is never shown."""
    return {
        "name": endpoint_info.name,
        "base_url": endpoint_info.base_url,
        "model": endpoint_info.model,
        "secret_key": "",
        "price_in": endpoint_info.price_in,
        "price_out": endpoint_info.price_out,
        "concurrency": endpoint_info.concurrency,
        "timeout_s": endpoint_info.timeout_s,
        "schema_mode": endpoint_info.supports_schema.value,
    }


def _endpoint_table(services: Services, translate: Translator) -> Markup:
    endpoints = services.endpoints.endpoints()
    if not endpoints:
        return empty_notice(
            translate(
                "还没有端点。任何兼容 OpenAI 接口的服务都可以：云端的、Ollama、vLLM、transformers serve。",
                "No endpoint yet. Any OpenAI-compatible server will do: a cloud, Ollama, vLLM, transformers serve.",
            )
        )
    header_cells = [
        translate("名称", "Name"),
        translate("模型", "Model"),
        translate("地址", "Address"),
        translate("密钥", "Key"),
        translate("价格 入/出", "Price in/out"),
        translate("并发", "Concurrency"),
        translate("超时", "Timeout"),
    ]
    return render(
        "judges/templates/endpoints.html", translate=translate, header_cells=header_cells, endpoints=endpoints
    )
