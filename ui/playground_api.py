"""The write page's routes: plain HTTP beside Gradio. A round goes on in the server whoever looks.

Who asks is a random cookie, so that a reload finds its rounds and nobody reads another's.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.errors import Message, UserError
from backend.playground.records import CardView, Fields, PlayRequest, RoundView
from backend.playground.vocabulary import Change
from backend.services import Services
from backend.signing import Signer
from backend.training_runs.service import TrainingService
from backend.vocabulary import CampaignKind
from backend.writing.generators import GeneratorInfo, Readiness
from ui.annotation_api import Id, RequestId
from ui.playground_words import visitors_words
from ui.polite_route import PoliteRoute

COOKIE = "zhufu_visitor"
_YEAR = 365 * 24 * 3600
LOOK_S = 0.07
"""Between two looks at a round that is streamed; a person sees no difference below a tenth of a second."""
LIFE_S = 10.0
"""Of one stream: short, so that a server that ends never waits long. The browser comes again by itself."""

Name = Annotated[str, Field(min_length=1, max_length=120)]
Text = Annotated[str, Field(max_length=20_000)]
Part = Annotated[str, Field(max_length=1_000)]
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class FieldsBody(_Body):
    """A request by parts."""

    occasion: Part = ""
    recipient: Part = ""
    style: Part = ""
    length: Part = ""
    personal: Part = ""


class RoundBody(_Body):
    """What a visitor asks for."""

    models: Annotated[list[Name], Field(max_length=20)]
    text: Text = ""
    fields: FieldsBody = FieldsBody()
    count: Annotated[int, Field(ge=1, le=8)] | None = None
    sampling: Annotated[dict[Name, float], Field(max_length=10)] = {}
    seed: Annotated[int, Field(ge=0, le=2**31 - 2)] | None = None


class ChangeBody(_Body):
    """How another version should differ."""

    change: Annotated[str, Field(max_length=20)]


class SignalBody(_Body):
    """Like, dislike, or neither."""

    value: Annotated[int, Field(ge=-1, le=1)]
    request_id: RequestId


class JudgeBody(_Body):
    """The judge to ask."""

    judge: Name


class ModelBody(_Body):
    """A generator."""

    model: Name


class CampaignBody(_Body):
    """What people are to annotate."""

    models: Annotated[list[Name], Field(min_length=1, max_length=4)]
    kind: Annotated[str, Field(max_length=20)]


class ScoreBody(_Body):
    """What a judge is to score."""

    model: Name
    judge: Name


def router(services: Services) -> APIRouter:
    """The routes under /api/play."""
    routes = APIRouter(prefix="/api/play", route_class=PoliteRoute, default_response_class=JSONResponse)
    signer = Signer(services.settings.home, "zhufu-visitor")
    _add_models(routes, services, signer)
    _add_rounds(routes, services, signer)
    _add_cards(routes, services, signer)
    _add_flow(routes, services)
    return routes


def _add_models(routes: APIRouter, services: Services, signer: Signer) -> None:
    @routes.get("/models")
    def models(request: Request) -> JSONResponse:
        reply = JSONResponse(
            {
                "models": [_model(info) for info in services.generators.generators()],
                "starter": _starter(services),
                "judges": services.card_judges.names(),
            }
        )
        if not _visitor(request, signer):
            _welcome(request, reply, signer)
        return reply

    @routes.post("/models/start")
    def start(body: ModelBody) -> JSONResponse:
        services.generators.start(body.model)
        return JSONResponse({"model": _model(services.generators.info(body.model))})

    @routes.post("/models/stop")
    def stop(body: ModelBody) -> JSONResponse:
        services.generators.stop(body.model)
        return JSONResponse({"model": _model(services.generators.info(body.model))})

    @routes.post("/starter")
    def starter() -> JSONResponse:
        TrainingService(services.jobs).start_starter()
        return JSONResponse({"starter": _starter(services)})


def _add_rounds(routes: APIRouter, services: Services, signer: Signer) -> None:
    play = services.play

    @routes.post("/rounds")
    def begin(body: RoundBody, request: Request) -> JSONResponse:
        visitor = _visitor(request, signer) or _new_visitor()
        wish = PlayRequest(
            generators=tuple(body.models),
            text=body.text,
            fields=Fields(**body.fields.model_dump()),
            count=body.count,
            sampling=body.sampling,
            seed=body.seed,
        )
        reply = JSONResponse({"round": plain(play.begin(wish, visitor))})
        if not _visitor(request, signer):
            _welcome(request, reply, signer, visitor)
        return reply

    @routes.get("/rounds")
    def recent(request: Request) -> JSONResponse:
        return JSONResponse({"rounds": [plain(view) for view in play.recent(_visitor(request, signer))]})

    @routes.get("/rounds/{token}")
    def one(token: Token, request: Request) -> JSONResponse:
        return JSONResponse({"round": plain(play.view(token, _visitor(request, signer)))})

    @routes.post("/rounds/{token}/stop")
    def stop(token: Token, request: Request) -> JSONResponse:
        return JSONResponse({"round": plain(play.stop(token, _visitor(request, signer)))})

    @routes.get("/rounds/{token}/events")
    async def events(token: Token, request: Request) -> StreamingResponse:
        visitor = _visitor(request, signer)
        first = await asyncio.to_thread(play.view, token, visitor)

        async def told() -> AsyncIterator[str]:
            view, until = first, time.monotonic() + LIFE_S
            yield f"retry: 300\n{_event(view)}"
            while view.running and time.monotonic() < until:
                await asyncio.sleep(LOOK_S)
                seen, view = view.revision, play.view(token, visitor)
                if view.revision != seen:
                    yield _event(view)
            if not view.running:
                yield "event: end\ndata: {}\n\n"

        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(told(), media_type="text/event-stream", headers=headers)


def _add_cards(routes: APIRouter, services: Services, signer: Signer) -> None:
    play = services.play

    @routes.post("/cards/{card_id}/change")
    def change(card_id: Id, body: ChangeBody, request: Request) -> JSONResponse:
        wish = _change(body.change)
        return JSONResponse({"round": plain(play.change(card_id, wish, _visitor(request, signer)))})

    @routes.post("/cards/{card_id}/signal")
    def signal(card_id: Id, body: SignalBody, request: Request) -> JSONResponse:
        card = play.signal(card_id, _visitor(request, signer), body.value, body.request_id)
        return JSONResponse({"card": _card(card)})

    @routes.post("/cards/{card_id}/judge")
    def judge(card_id: Id, body: JudgeBody, request: Request) -> JSONResponse:
        view, card = play.card(card_id, _visitor(request, signer))
        said = services.card_judges.ask(body.judge, view.prompt, card.text)
        return JSONResponse(
            {"judge": said.judge, "scale": said.scale, "value": said.value, "reason": said.reason}
        )


def _add_flow(routes: APIRouter, services: Services) -> None:
    @routes.get("/tallies")
    def tallies() -> JSONResponse:
        rows = [vars(tally) for tally in services.play.tallies()]
        return JSONResponse({"tallies": rows})

    @routes.post("/campaign")
    def campaign(body: CampaignBody) -> JSONResponse:
        made = services.flow.campaign(body.models, _kind(body.kind))
        return JSONResponse({"campaign": {"id": made.id, "name": made.name, "items": made.items}})

    @routes.post("/score")
    def score(body: ScoreBody) -> JSONResponse:
        job = services.flow.score(body.model, body.judge)
        return JSONResponse({"job": job.id})


def _visitor(request: Request, signer: Signer) -> str:
    value = signer.read(request.cookies.get(COOKIE, ""))
    return value if isinstance(value, str) else ""


def _new_visitor() -> str:
    return secrets.token_hex(16)


def _welcome(request: Request, reply: JSONResponse, signer: Signer, visitor: str = "") -> None:
    reply.set_cookie(
        COOKIE,
        signer.sign(visitor or _new_visitor()),
        max_age=_YEAR,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def _change(value: str) -> Change:
    if value not in set(Change):
        raise UserError(f"There is no change “{value}”.", f"没有“{value}”这种改法。")
    return Change(value)


def _kind(value: str) -> CampaignKind:
    if value not in set(CampaignKind):
        raise UserError(f"There is no campaign of kind “{value}”.", f"没有“{value}”这类任务。")
    return CampaignKind(value)


def _starter(services: Services) -> dict[str, Any]:
    """How far the starter's writer is, and why it cannot be trained now."""
    trainings = TrainingService(services.jobs)
    job, blocked = trainings.starter_job(), trainings.starter_blocked()
    running = job is not None and not job.ended
    return {
        "blocked": _said(blocked),
        "job": job.id if job else None,
        "running": running,
        "progress": job.progress if job and running else 0.0,
        "failed": _said(job.error) if job and job.ended else None,
        "waiting": _said(job.waiting) if job else None,
    }


def _model(info: GeneratorInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "kind": info.kind.value,
        "title": info.title,
        "model": info.model,
        "readiness": info.readiness.value,
        "usable": info.readiness is not Readiness.GONE,
        "size": info.size,
        "sampling": {
            "temperature": info.sampling.temperature,
            "top_p": info.sampling.top_p,
            "max_tokens": info.sampling.max_tokens,
        },
    }


def plain(view: RoundView) -> dict[str, Any]:
    """A round as the page gets it."""
    return {
        "token": view.token,
        "prompt": view.prompt,
        "wish": dict(view.wish),
        "seed": view.seed,
        "created_at": view.created_at.isoformat(),
        "running": view.running,
        "revision": view.revision,
        "note": _said(view.note),
        "cards": [_card(card) for card in view.cards],
    }


def _card(card: CardView) -> dict[str, Any]:
    return {
        "id": card.id,
        "generator": card.generator,
        "model": card.model,
        "place": card.place,
        "version": card.version,
        "change": card.change.value if card.change else None,
        "state": card.state.value,
        "text": card.text,
        "note": _said(visitors_words(card)),
        "seed": card.seed,
        "tries": card.tries,
        "seconds": card.seconds,
        "liked": card.liked,
        "ahead": card.ahead,
        "waking": card.waking,
    }


def _said(message: Message | None) -> dict[str, str] | None:
    return {"zh": message.zh, "en": message.en} if message else None


def _event(view: RoundView) -> str:
    return f"data: {json.dumps(plain(view), ensure_ascii=False)}\n\n"
