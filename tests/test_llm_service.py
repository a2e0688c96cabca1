"""Endpoints and their keys: entered, kept secret, tested."""

import asyncio
import json
import logging
import stat
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.core.errors import NotFound, UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.llm import endpoints
from backend.llm.endpoints import EndpointInput, EndpointService
from backend.llm.errors import FATAL_KINDS, RETRYABLE_KINDS, LLMError, LLMErrorKind
from backend.llm.keys import KeyStore, load_or_create_fence_key
from backend.llm.messages import ChatMessage, Endpoint, SchemaMode
from tests.llm_fixtures import FAST, FakeLLM

SECRET = "sk-very-secret-4711"
ENTERED = EndpointInput("deep", "https://api.example.com/v1/", "chat", SecretStr(SECRET), price_in=1.0)


@pytest.fixture
def service(database: Database, home: Path):
    made = EndpointService(database, home, Settings.load())
    yield made
    made.close()


def test_save_change_and_delete(service: EndpointService, home: Path):
    info = service.save(ENTERED)
    assert (info.base_url, info.has_key, info.read_only) == ("https://api.example.com/v1", True, False)
    changed = service.save(replace(ENTERED, model="other", api_key=None, supports_schema=SchemaMode.NO))
    assert changed.has_key and service.endpoints() == [changed]
    got = service.get("deep")
    assert got.model == "other" and got.api_key.get_secret_value() == SECRET and got.supports_schema is SchemaMode.NO
    assert not service.save(replace(ENTERED, api_key=SecretStr(""))).has_key
    service.save(ENTERED)
    service.delete("deep")
    assert service.endpoints() == [] and SECRET not in (home / "endpoint_keys.json").read_text()
    with pytest.raises(NotFound):
        service.get("deep")
    with pytest.raises(NotFound):
        service.delete("deep")


def test_processes_that_ask_together_share_the_concurrency(service: EndpointService, database: Database, home: Path):
    service.save(replace(ENTERED, concurrency=16))
    shares = [EndpointService(database, home, Settings.load(), count).get("deep").concurrency for count in (1, 3, 40)]
    assert shares == [16, 5, 1]
    assert [info.concurrency for info in service.endpoints()] == [16], "people see what they entered"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "default"}, "default"),
        ({"name": "Artifact:3"}, "trained models"),
        ({"model": ""}, "model"),
        ({"base_url": "api.example.com"}, "base URL"),
        ({"base_url": "ftp://x/v1"}, "base URL"),
        ({"base_url": "http://"}, "base URL"),
        ({"base_url": "http://x:99999/v1"}, "base URL"),
        ({"base_url": "http://[::1/v1"}, "base URL"),
        ({"base_url": "http://a b/v1"}, "base URL"),
        ({"base_url": f"https://user:{SECRET}@x/v1"}, "key"),
        ({"base_url": f"https://x/v1?key={SECRET}"}, "key"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 5000}, "concurrency"),
        ({"timeout_s": 0.0}, "timeout"),
        ({"timeout_s": float("nan")}, "timeout"),
        ({"price_in": -1.0}, "Prices"),
        ({"price_out": float("inf")}, "Prices"),
        ({"api_key": SecretStr("has space")}, "key"),
        ({"api_key": SecretStr("密钥")}, "key"),
        ({"api_key": SecretStr("line\nbreak")}, "key"),
    ],
)
def test_wrong_input_is_one_sentence_and_stores_nothing(service: EndpointService, changes: dict[str, Any], words: str):
    with pytest.raises(UserError) as caught:
        service.save(replace(ENTERED, **changes))
    assert words in str(caught.value) and caught.value.message.zh and SECRET not in str(caught.value)
    assert service.endpoints() == []


@pytest.mark.parametrize("url", ["https://x/v1/chat/completions", "https://x/v1/", "https://x/v1/models"])
def test_addresses_are_cut_to_their_base(service: EndpointService, url: str):
    assert service.save(replace(ENTERED, base_url=url)).base_url == "https://x/v1"


def test_a_stored_key_does_not_follow_the_endpoint_to_another_server(service: EndpointService):
    service.save(ENTERED)
    with pytest.raises(UserError, match="enter its key again"):
        service.save(replace(ENTERED, base_url="https://evil.example/v1", api_key=None))
    assert service.save(replace(ENTERED, base_url="https://api.example.com/v2", api_key=None)).has_key


def test_the_environments_endpoint_is_there_and_read_only(database, home, monkeypatch, fake_llm: FakeLLM):
    monkeypatch.setenv("ZHUFU_LLM_BASE_URL", fake_llm.base_url)
    monkeypatch.setenv("ZHUFU_LLM_MODEL", "fake")
    monkeypatch.setenv("ZHUFU_LLM_API_KEY", SECRET)
    service = EndpointService(database, home, Settings.load())
    info = service.endpoints()[0]
    assert (info.name, info.read_only, info.has_key) == ("default", True, True)

    async def run() -> str:
        async with service.client("default", "judge v1", policy=FAST) as client:
            return (await client.complete([ChatMessage("user", "你好")])).text

    assert "verdict" in asyncio.run(run())
    service.close()


def test_a_wrong_environment_spoils_only_its_own_endpoint(database, home, monkeypatch):
    monkeypatch.setenv("ZHUFU_LLM_BASE_URL", f"https://user:{SECRET}@x/v1")
    service = EndpointService(database, home, Settings.load())
    service.save(ENTERED)
    assert [info.name for info in service.endpoints()] == ["default", "deep"]
    assert SECRET not in repr(service.endpoints())
    with pytest.raises(UserError):
        service.get("default")
    service.close()


def test_keys_lie_in_a_file_for_their_owner_only(home: Path):
    store = KeyStore(home)
    store.store_key("a", SecretStr(SECRET))
    path = home / "endpoint_keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in home.iterdir()] == ["endpoint_keys.json"]
    assert store.names_with_key() == {"a"} and store.load_key("b").get_secret_value() == ""
    assert (
        load_or_create_fence_key(home) == load_or_create_fence_key(home)
        and stat.S_IMODE((home / "fence_key").stat().st_mode) == 0o600
    )


@pytest.mark.parametrize("content", [f'{{"a": "{SECRET}"', f'["{SECRET}"]', "\x00"])
def test_a_broken_key_file_is_named_and_not_quoted(home: Path, content: str):
    home.mkdir(parents=True)
    (home / "endpoint_keys.json").write_text(content)
    with pytest.raises(UserError) as caught:
        KeyStore(home).load_key("a")
    shown = "".join(traceback.format_exception(caught.value))
    assert "endpoint_keys.json" in shown and SECRET not in str(caught.value) and caught.value.__context__ is None


def test_the_key_shows_up_nowhere(service: EndpointService, database: Database, fake_llm: FakeLLM, caplog):
    """Whatever happens, and with every logger of the SDK and its transport wide open."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    entered = EndpointInput("fake", fake_llm.base_url, "fake", SecretStr(SECRET), timeout_s=1.0)
    shown = [repr(entered), repr(service.save(entered)), repr(service.get("fake")), repr(service)]

    async def run(script: dict[str, Any]) -> None:
        fake_llm.script(**script)
        async with service.client("fake", str(script), policy=FAST) as client:
            shown.append(repr(client) + repr(vars(client)))
            try:
                await client.complete([ChatMessage("user", "你好")], {"type": "object"})
            except LLMError as error:
                shown.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
        shown.append(str((await endpoints.probe_endpoint(service.get("fake"))).message))

    faults = ["server_error", "rate_limit", "drop", "hang", "html", "bad_request"]
    for script in (
        {},
        {"api_key": "another"},
        {"models": ["x"]},
        *({"faults": {fault: 1.0}} for fault in faults),
    ):
        asyncio.run(run(script))
    service.ledger.flush()
    with database.engine.connect() as connection:
        rows = [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in ("llm_calls", "endpoints")]
    shown += [repr(rows), caplog.text, repr([vars(record) for record in caplog.records])]
    assert len(rows[0]) > 10 and "Sending HTTP Request" in caplog.text
    assert not [text for text in shown if SECRET in text]
    assert json.loads((service._home / "endpoint_keys.json").read_text()) == {"fake": SECRET}


class TestProbe:
    """The connection test says in one sentence what is wrong."""

    def said(self, endpoint: Endpoint) -> tuple[bool, str]:
        result = asyncio.run(endpoints.probe_endpoint(endpoint, timeout_s=0.5))
        assert result.message.zh
        return result.ok, result.message.en

    def test_works(self, fake_llm: FakeLLM):
        ok, said = self.said(fake_llm.endpoint())
        assert ok and said.startswith("fake at http://127.0.0.1") and said.endswith(" s.")

    def test_a_model_that_only_thinks_works_too(self, fake_llm: FakeLLM):
        fake_llm.script(faults={"thinking": 1.0})
        assert self.said(fake_llm.endpoint())[0]

    def test_unknown_model_names_what_there_is(self, fake_llm: FakeLLM):
        fake_llm.script(models=["qwen3", "deepseek"])
        ok, said = self.said(fake_llm.endpoint())
        assert not ok and 'does not know the model "fake"; it offers: qwen3, deepseek' in said

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ({"api_key": "right"}, "does not accept the API key (401)"),
            ({"faults": {"forbidden": 1.0}}, "403"),
            ({"faults": {"html": 1.0}}, "HTML"),
            ({"faults": {"bad_json": 1.0}}, "not JSON"),
            ({"faults": {"hang": 1.0}}, "did not answer in time"),
            ({"faults": {"drop": 1.0}}, "cut the connection"),
            ({"faults": {"server_error": 1.0}}, "failed on its side"),
        ],
    )
    def test_wrong(self, fake_llm: FakeLLM, script: dict[str, Any], words: str):
        fake_llm.script(**script)
        ok, said = self.said(fake_llm.endpoint())
        assert not ok and words in said

    def test_refused(self):
        assert "refuses connections" in self.said(Endpoint("off", "http://127.0.0.1:9/v1", "m"))[1]

    def test_address_without_v1(self, fake_llm: FakeLLM):
        endpoint = fake_llm.endpoint(base_url=fake_llm.address, timeout_s=30)
        assert "usually ends in /v1" in self.said(endpoint)[1]

    def test_a_key_that_cannot_be_one(self):
        ok, said = self.said(Endpoint("e", "http://127.0.0.1:9/v1", "m", SecretStr("密钥")))
        assert not ok and "characters that no key has" in said and "密钥" not in said


def test_every_kind_has_its_sentence_in_both_languages():
    for kind in LLMErrorKind:
        message = LLMError(kind, "here").message
        assert message.en.endswith((".", "?")) and message.zh.endswith("。") and "{" not in message.en + message.zh
    assert not FATAL_KINDS & RETRYABLE_KINDS
