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
    EndpointTab(services, translate).wire_events(endpoints_tab)


class EndpointTab:
    """The blocks of the tab, and the handlers of its buttons."""

    def __init__(self, services: Services, translate: Translator) -> None:
        self._services, self._translate = services, translate
        self.endpoint_list = html_block(elem_id="zf-endpoints")
        self.endpoint_choice = gr.Dropdown(
            label=translate("添加或修改", "Add or change"),
            choices=[(translate("新端点", "A new one"), NEW_ENDPOINT)],
            value=NEW_ENDPOINT,
            elem_id="zf-endpoint-which",
        )
        self.endpoint_form = BoxForm(**_address_boxes(translate), **_limit_boxes(translate))
        with gr.Row():
            self.save_button = gr.Button(translate("保存", "Save"), variant="primary", elem_id="zf-endpoint-save")
            self.test_button = gr.Button(translate("测试连接", "Test connection"), elem_id="zf-endpoint-test")
            self.delete_button = gr.Button(translate("删除", "Delete"), variant="stop", elem_id="zf-endpoint-remove")
        self.message_block = html_block(elem_id="zf-endpoint-told")

    def wire_events(self, endpoints_tab: gr.Tab) -> None:
        """Fill the list when the tab is shown, the form when an endpoint is chosen; then the three buttons."""
        translate, endpoint_form = self._translate, self.endpoint_form
        with_friendly_errors = friendly_errors(translate)
        list_blocks = [self.endpoint_list, self.endpoint_choice]
        changed_blocks = [self.message_block, *list_blocks]
        fill_tab(endpoints_tab, with_friendly_errors(self.load_endpoints), list_blocks, self.endpoint_choice)
        self.endpoint_choice.change(
            with_friendly_errors(self.fill_form),
            self.endpoint_choice,
            endpoint_form.outputs,
            queue=False,
            show_progress="hidden",
        )
        self.save_button.click(
            with_friendly_errors(endpoint_form.named(self.save_endpoint)),
            endpoint_form.inputs,
            [*changed_blocks, endpoint_form["secret_key"]],
            queue=False,
        )
        # Through the queue: a server that does not answer holds this up to its timeout.
        self.test_button.click(with_friendly_errors(self.test_endpoint), self.endpoint_choice, self.message_block)
        question = translate("确定删除这个端点吗？已有的评判会留下。", "Delete this endpoint? Verdicts it gave stay.")
        self.delete_button.click(
            with_friendly_errors(self.delete_endpoint),
            self.endpoint_choice,
            changed_blocks,
            js=confirm_script(question),
            queue=False,
        )

    def load_endpoints(self, chosen_name: str) -> list[Any]:
        """The table, and the choices; the choice itself only where there is none yet."""
        endpoint_names = [endpoint.name for endpoint in self._services.endpoints.endpoints()]
        endpoint_options = [
            (self._translate("新端点", "A new one"), NEW_ENDPOINT),
            *((endpoint_name, endpoint_name) for endpoint_name in endpoint_names),
        ]
        return [
            _endpoint_table(self._services, self._translate),
            gr.update(choices=endpoint_options, **default_choice(chosen_name, [NEW_ENDPOINT, *endpoint_names])),
        ]

    def _select_endpoint(self, chosen_name: str) -> list[Any]:
        table_html, choice_update = self.load_endpoints(chosen_name)
        # Set by force here, unlike when the tab is shown: who has saved or deleted means that one.
        return [table_html, choice_update | {"value": chosen_name}]

    def fill_form(self, chosen_name: str) -> dict[Any, Any]:
        """The boxes for the endpoint of this name, or for a new one."""
        chosen_infos = [endpoint for endpoint in self._services.endpoints.endpoints() if endpoint.name == chosen_name]
        return self.endpoint_form.fill(_endpoint_values(chosen_infos[0]) if chosen_infos else NEW_ENDPOINT_VALUES)

    def save_endpoint(self, entered: EnteredValues) -> dict[Any, Any]:
        """Store what the boxes hold, and choose it; bad input is answered in the message."""
        try:
            endpoint_info = self._services.endpoints.save(_endpoint_input(entered))
        except UserError as error:
            return {self.message_block: note(self._translate.localize(error), "bad")}
        saved_message = self._translate(f"已保存“{endpoint_info.name}”。", f"Saved “{endpoint_info.name}”.")
        table_html, choice_update = self._select_endpoint(endpoint_info.name)
        return {
            self.message_block: note(saved_message, "ok"),
            self.endpoint_list: table_html,
            self.endpoint_choice: choice_update,
            # A key is not kept in the browser once it is stored.
            **self.endpoint_form.fill({"secret_key": ""}),
        }

    def test_endpoint(self, chosen_name: str) -> Markup:
        """Ask the stored endpoint of this name for an answer, and report what came."""
        translate = self._translate
        if not chosen_name:
            return note(translate("请先保存，再选中要测试的端点。", "Save it first, then choose the one to test."))
        try:
            # Gradio calls handlers in threads, which have no event loop.
            probe_result = asyncio.run(self._services.endpoints.probe(chosen_name))
        except UserError as error:
            return note(translate.localize(error), "bad")
        return note(translate.localize(probe_result.message), "ok" if probe_result.ok else "bad")

    def delete_endpoint(self, chosen_name: str | None) -> list[Any]:
        """Delete the endpoint of this name; None where the person answered no in the browser."""
        # The browser asked first, and the answer was no.
        if chosen_name is None:
            return [gr.skip()] * 3
        translate = self._translate
        if not chosen_name:
            return [
                note(translate("请先选中要删除的端点。", "Choose the endpoint to delete.")),
                gr.skip(),
                gr.skip(),
            ]
        self._services.endpoints.delete(chosen_name)
        return [
            note(translate(f"已删除“{chosen_name}”。", f"Deleted “{chosen_name}”."), "ok"),
            *self._select_endpoint(NEW_ENDPOINT),
        ]


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
