"""The write page's routes: plain HTTP beside Gradio. A round goes on in the server whoever looks."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.core.enums import CampaignKind, CardChange
from backend.core.errors import Message, UserError
from backend.core.signing import Signer
from backend.generation.generators import GeneratorInfo, Readiness
from backend.llm.errors import LLMErrorKind
from backend.playground.records import CardView, PlayRequest, RequestFields, RoundView
from backend.services import Services
from backend.training.service import TrainingService
from ui.components.routes import ErrorMessageRoute, RequestId, RowId, SignedCookie

_UNREACHABLE = Message(
    "The model cannot be reached now; choose another, or try again later.",
    "现在连不上这个模型，请换一个，或稍后再试。",
)
_NOT_SET_UP = Message(
    "This model is not set up properly; choose another, and tell whoever keeps this site.",
    "这个模型没有配置好，请换一个，并告诉本站的管理员。",
)
_MODEL_ERROR = Message(
    "The model made an error; ask for another one, or choose another model.",
    "模型出错了，请换一条，或换一个模型。",
)
_FAULT_MESSAGES = {
    LLMErrorKind.CUT_OFF: Message(
        "The model broke off in the middle; ask for another one.", "写到一半，模型断开了连接，请换一条。"
    ),
    LLMErrorKind.TIMEOUT: Message(
        "The model did not finish in time; ask for another one.", "模型没有在时限内写完，请换一条。"
    ),
    LLMErrorKind.RATE_LIMITED: Message(
        "The model is very busy; try again in a minute.", "这个模型正忙，请过一分钟再试。"
    ),
    LLMErrorKind.FILTERED: Message(
        "The model's filter refused this request; put it in other words.",
        "模型的内容过滤拒绝了这个请求，请换个说法。",
    ),
    LLMErrorKind.TOO_LONG: Message(
        "The request is too long for this model; make it shorter.",
        "请求对这个模型来说太长了，请写短一点。",
    ),
    LLMErrorKind.EMPTY: Message("The model wrote nothing; ask for another one.", "模型什么也没写，请换一条。"),
    LLMErrorKind.REFUSED: _UNREACHABLE,
    LLMErrorKind.UNREACHABLE: _UNREACHABLE,
    LLMErrorKind.UNAUTHORISED: _NOT_SET_UP,
    LLMErrorKind.FORBIDDEN: _NOT_SET_UP,
    LLMErrorKind.NO_CREDIT: _NOT_SET_UP,
    LLMErrorKind.UNKNOWN_MODEL: _NOT_SET_UP,
    LLMErrorKind.NOT_FOUND: _NOT_SET_UP,
    LLMErrorKind.BAD_REQUEST: _NOT_SET_UP,
    LLMErrorKind.NOT_JSON: _MODEL_ERROR,
    LLMErrorKind.SERVER_ERROR: _MODEL_ERROR,
    LLMErrorKind.ERROR_BODY: _MODEL_ERROR,
}


def visitor_message(card_view: CardView) -> Message | None:
    """The card's note; what a model server did is told without saying where it stands."""
    if card_view.note is None or card_view.fault not in set(LLMErrorKind):
        return card_view.note
    # The model server's own sentence names its address, which is the researcher's business and no visitor's.
    return _FAULT_MESSAGES.get(LLMErrorKind(card_view.fault), card_view.note)


VISITOR_COOKIE = "zhufu_visitor"
# Between two looks at a round that is streamed; a person sees no difference below a tenth of a second.
STREAM_POLL_SECONDS = 0.07
# Of one stream: short, so that a server that ends never waits long. The browser comes again by itself.
STREAM_LIFE_SECONDS = 10.0

ShortName = Annotated[str, Field(min_length=1, max_length=120)]
RequestText = Annotated[str, Field(max_length=20_000)]
FieldText = Annotated[str, Field(max_length=1_000)]
# As the service draws them, 128 random bits: nobody guesses one, and another visitor's is not found even so.
RoundToken = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _RequestBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class FieldsBody(_RequestBody):
    """A request by parts."""

    occasion: FieldText = ""
    recipient: FieldText = ""
    style: FieldText = ""
    length: FieldText = ""
    personal: FieldText = ""


class RoundBody(_RequestBody):
    """What a visitor asks for."""

    models: Annotated[list[ShortName], Field(max_length=20)]
    text: RequestText = ""
    fields: FieldsBody = FieldsBody()
    count: Annotated[int, Field(ge=1, le=8)] | None = None
    sampling: Annotated[dict[ShortName, float], Field(max_length=10)] = {}
    seed: Annotated[int, Field(ge=0, le=2**31 - 2)] | None = None


class ChangeBody(_RequestBody):
    """How another version should differ."""

    change: Annotated[str, Field(max_length=20)]


class SignalBody(_RequestBody):
    """Like, dislike, or neither."""

    value: Annotated[int, Field(ge=-1, le=1)]
    request_id: RequestId


class JudgeBody(_RequestBody):
    """The judge to ask."""

    judge: ShortName


class ModelBody(_RequestBody):
    """A generator."""

    model: ShortName


class CampaignBody(_RequestBody):
    """What people are to annotate."""

    models: Annotated[list[ShortName], Field(min_length=1, max_length=4)]
    kind: Annotated[str, Field(max_length=20)]


class ScoreBody(_RequestBody):
    """What a judge is to score."""

    model: ShortName
    judge: ShortName


def build_router(services: Services) -> APIRouter:
    """The routes under /api/play."""
    routes = APIRouter(prefix="/api/play", route_class=ErrorMessageRoute, default_response_class=JSONResponse)
    visitor_cookie = SignedCookie(VISITOR_COOKIE, Signer(services.settings.home, "zhufu-visitor"))
    _add_models(routes, services, visitor_cookie)
    _add_rounds(routes, services, visitor_cookie)
    _add_cards(routes, services, visitor_cookie)
    _add_workflow(routes, services)
    return routes


def _add_models(routes: APIRouter, services: Services, visitor_cookie: SignedCookie) -> None:
    @routes.get("/models")
    def list_models(request: Request) -> JSONResponse:
        response = JSONResponse(
            {
                "models": [_generator_json(generator_info) for generator_info in services.generators.generators()],
                "starter": _starter_json(services),
                "judges": services.card_judges.judge_names(),
            }
        )
        if not _read_visitor(request, visitor_cookie):
            visitor_cookie.write(request, response, _new_visitor())
        return response

    @routes.post("/models/start")
    def start_model(body: ModelBody) -> JSONResponse:
        services.generators.start(body.model)
        return JSONResponse({"model": _generator_json(services.generators.info(body.model))})

    @routes.post("/wake")
    def wake_model() -> JSONResponse:
        woken_generator = services.generators.wake_starter()
        return JSONResponse({"model": _generator_json(woken_generator) if woken_generator else None})

    @routes.post("/models/stop")
    def stop_model(body: ModelBody) -> JSONResponse:
        services.generators.stop(body.model)
        return JSONResponse({"model": _generator_json(services.generators.info(body.model))})

    @routes.post("/starter")
    def start_starter() -> JSONResponse:
        TrainingService(services.jobs).start_starter()
        return JSONResponse({"starter": _starter_json(services)})


def _add_rounds(routes: APIRouter, services: Services, visitor_cookie: SignedCookie) -> None:
    play_service = services.play

    @routes.post("/rounds")
    def begin_round(body: RoundBody, request: Request) -> JSONResponse:
        visitor = _read_visitor(request, visitor_cookie) or _new_visitor()
        play_request = PlayRequest(
            generators=tuple(body.models),
            text=body.text,
            fields=RequestFields(**body.fields.model_dump()),
            count=body.count,
            sampling=body.sampling,
            seed=body.seed,
        )
        response = JSONResponse({"round": round_json(play_service.begin(play_request, visitor))})
        if not _read_visitor(request, visitor_cookie):
            visitor_cookie.write(request, response, visitor)
        return response

    @routes.get("/rounds")
    def recent_rounds(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "rounds": [
                    round_json(round_view) for round_view in play_service.recent(_read_visitor(request, visitor_cookie))
                ]
            }
        )

    @routes.get("/rounds/{token}")
    def show_round(token: RoundToken, request: Request) -> JSONResponse:
        return JSONResponse({"round": round_json(play_service.view(token, _read_visitor(request, visitor_cookie)))})

    @routes.post("/rounds/{token}/stop")
    def stop_round(token: RoundToken, request: Request) -> JSONResponse:
        return JSONResponse({"round": round_json(play_service.stop(token, _read_visitor(request, visitor_cookie)))})

    @routes.get("/rounds/{token}/events")
    async def stream_events(token: RoundToken, request: Request) -> StreamingResponse:
        visitor = _read_visitor(request, visitor_cookie)
        # Before the stream begins, so that an unknown round is a 404 and no stream that ends at once; in a
        # thread, for it may read the database.
        first_view = await asyncio.to_thread(play_service.view, token, visitor)

        async def event_stream() -> AsyncIterator[str]:
            round_view, deadline = first_view, time.monotonic() + STREAM_LIFE_SECONDS
            # The browser comes again after 0.3 s instead of its usual seconds: to a reader the stream never
            # ended.
            yield f"retry: 300\n{_event_text(round_view)}"
            while round_view.running and time.monotonic() < deadline:
                await asyncio.sleep(STREAM_POLL_SECONDS)
                seen_revision, round_view = round_view.revision, play_service.view(token, visitor)
                # Whole rounds and not differences: a browser that comes again has nothing to put together.
                if round_view.revision != seen_revision:
                    yield _event_text(round_view)
            # Without this event the browser would open a stream for a round that is over, again and again.
            if not round_view.running:
                yield "event: end\ndata: {}\n\n"

        # Nginx would otherwise hold events back until a buffer is full.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(event_stream(), media_type="text/event-stream", headers=headers)


def _add_cards(routes: APIRouter, services: Services, visitor_cookie: SignedCookie) -> None:
    play_service = services.play

    @routes.post("/cards/{card_id}/change")
    def change_card(card_id: RowId, body: ChangeBody, request: Request) -> JSONResponse:
        card_change = _parse_change(body.change)
        return JSONResponse(
            {"round": round_json(play_service.change(card_id, card_change, _read_visitor(request, visitor_cookie)))}
        )

    @routes.post("/cards/{card_id}/signal")
    def rate_card(card_id: RowId, body: SignalBody, request: Request) -> JSONResponse:
        rated_card = play_service.signal(card_id, _read_visitor(request, visitor_cookie), body.value, body.request_id)
        return JSONResponse({"card": _card_json(rated_card)})

    @routes.post("/cards/{card_id}/judge")
    def judge_card(card_id: RowId, body: JudgeBody, request: Request) -> JSONResponse:
        round_view, judged_card = play_service.card(card_id, _read_visitor(request, visitor_cookie))
        judgment = services.card_judges.judge_greeting(body.judge, round_view.prompt, judged_card.text)
        return JSONResponse(
            {
                "judge": judgment.judge,
                "scale": judgment.scale,
                "value": judgment.verdict_value,
                "reason": judgment.reason,
            }
        )


def _add_workflow(routes: APIRouter, services: Services) -> None:
    @routes.get("/tallies")
    def list_tallies() -> JSONResponse:
        tally_rows = [vars(model_tally) for model_tally in services.play.tallies()]
        return JSONResponse({"tallies": tally_rows})

    @routes.post("/campaign")
    def create_campaign(body: CampaignBody) -> JSONResponse:
        created_campaign = services.flow.create_campaign(body.models, _parse_campaign_kind(body.kind))
        return JSONResponse(
            {
                "campaign": {
                    "id": created_campaign.id,
                    "name": created_campaign.name,
                    "items": created_campaign.items,
                }
            }
        )

    @routes.post("/score")
    def start_scoring(body: ScoreBody) -> JSONResponse:
        scoring_job = services.flow.submit_scoring(body.model, body.judge)
        return JSONResponse({"job": scoring_job.id})


def _read_visitor(request: Request, visitor_cookie: SignedCookie) -> str:
    visitor_id = visitor_cookie.read(request)
    # An empty visitor owns nothing: rounds without one are nobody's, so nothing opens by accident.
    return visitor_id if isinstance(visitor_id, str) else ""


def _new_visitor() -> str:
    return secrets.token_hex(16)


def _parse_change(change_name: str) -> CardChange:
    if change_name not in set(CardChange):
        raise UserError(f"There is no change “{change_name}”.", f"没有“{change_name}”这种改法。")
    return CardChange(change_name)


def _parse_campaign_kind(kind_name: str) -> CampaignKind:
    if kind_name not in set(CampaignKind):
        raise UserError(f"There is no campaign of kind “{kind_name}”.", f"没有“{kind_name}”这类任务。")
    return CampaignKind(kind_name)


def _starter_json(services: Services) -> dict[str, Any]:
    """How far the starter's writer is, and why it cannot be trained now."""
    training_service = TrainingService(services.jobs)
    starter_job, blocked_reason = training_service.find_starter_job(), training_service.why_starter_blocked()
    is_running = starter_job is not None and not starter_job.ended
    return {
        "blocked": _message_json(blocked_reason),
        "job": starter_job.id if starter_job else None,
        "running": is_running,
        "progress": starter_job.progress if starter_job and is_running else 0.0,
        "failed": _message_json(starter_job.error) if starter_job and starter_job.ended else None,
        "waiting": _message_json(starter_job.waiting) if starter_job else None,
    }


def _generator_json(generator_info: GeneratorInfo) -> dict[str, Any]:
    return {
        "name": generator_info.name,
        "kind": generator_info.kind.value,
        "title": generator_info.title,
        "model": generator_info.model,
        "readiness": generator_info.readiness.value,
        "usable": generator_info.readiness is not Readiness.GONE,
        "size": generator_info.size,
        "sampling": {
            "temperature": generator_info.sampling.temperature,
            "top_p": generator_info.sampling.top_p,
            "max_tokens": generator_info.sampling.max_tokens,
        },
    }


def round_json(round_view: RoundView) -> dict[str, Any]:
    """A round as the page gets it."""
    return {
        "token": round_view.token,
        "prompt": round_view.prompt,
        "wish": dict(round_view.entered_request),
        "seed": round_view.seed,
        "created_at": round_view.created_at.isoformat(),
        "running": round_view.running,
        "revision": round_view.revision,
        "note": _message_json(round_view.note),
        "cards": [_card_json(card_view) for card_view in round_view.cards],
    }


def _card_json(card_view: CardView) -> dict[str, Any]:
    return {
        "id": card_view.id,
        "generator": card_view.generator,
        "model": card_view.model,
        "place": card_view.place,
        "version": card_view.version,
        "change": card_view.change.value if card_view.change else None,
        "state": card_view.state.value,
        "text": card_view.text,
        "note": _message_json(visitor_message(card_view)),
        "seed": card_view.seed,
        "tries": card_view.tries,
        "seconds": card_view.seconds,
        "liked": card_view.liked,
        "ahead": card_view.ahead,
        "waking": card_view.waking,
    }


def _message_json(message: Message | None) -> dict[str, str] | None:
    return {"zh": message.zh, "en": message.en} if message else None


def _event_text(round_view: RoundView) -> str:
    return f"data: {json.dumps(round_json(round_view), ensure_ascii=False)}\n\n"
