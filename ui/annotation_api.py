"""The annotate page's routes: plain HTTP beside Gradio, for votes go several times faster this way.

Every answer to a submission carries the next item, so that a label costs the page one round trip.
"""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.annotation.service import AnnotationService
from backend.records import (
    CampaignInfo,
    ComparisonInput,
    ItemReveal,
    ItemView,
    RaterInfo,
    ReviewInput,
    Saved,
    VerdictInput,
)
from backend.services import Services
from backend.signing import Signer
from ui.polite_route import PoliteRoute, Unknown

COOKIE = "zhufu_rater"
_YEAR = 365 * 24 * 3600

Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Revision = Annotated[int, Field(ge=0, le=2**31 - 1)]
Points = Annotated[int, Field(ge=1, le=3)]
Word = Annotated[str, Field(max_length=40)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class EnterBody(_Body):
    """A name to work under."""

    name: Annotated[str, Field(max_length=200)]


class NextBody(_Body):
    """The campaign to go on with."""

    campaign_id: Id


class CompareBody(_Body):
    """An answer to a compare item."""

    campaign_id: Id
    item_id: Id
    outcome: Word
    request_id: RequestId
    reasons: Annotated[list[Word], Field(max_length=10)] = []
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    amends: Revision | None = None


class VerdictBody(_Body):
    """A blind verdict; null passes the item over."""

    campaign_id: Id
    item_id: Id
    value: Annotated[int, Field(ge=0, le=1)] | None
    request_id: RequestId
    dimensions: Annotated[dict[Word, Points], Field(max_length=5)] | None = None
    amends: Revision | None = None


class ReviewBody(_Body):
    """Agreement with the judge; null is no opinion."""

    campaign_id: Id
    item_id: Id
    agrees: bool | None
    request_id: RequestId
    reason: Annotated[str, Field(max_length=4_000)] = ""
    amends: Revision | None = None


class UndoBody(_Body):
    """The campaign whose latest answer is taken back."""

    campaign_id: Id
    request_id: RequestId


def router(services: Services) -> APIRouter:
    """The routes under /api/annotation. Who answers comes from the signed cookie, never from a body."""
    routes = APIRouter(prefix="/api/annotation", route_class=PoliteRoute, default_response_class=JSONResponse)
    signer = Signer(services.settings.home, "zhufu-rater")

    def rater_id(request: Request) -> int:
        value = signer.read(request.cookies.get(COOKIE, ""))
        # A cookie may outlive its database; the page must then ask for the name again (401).
        if type(value) is not int or services.annotation.find_rater(value) is None:
            raise Unknown("We do not know you yet; enter your name first.", "还不认识你，请先填写名字。")
        return value

    _add_people(routes, services.annotation, signer)
    _add_questions(routes, services.annotation, rater_id)
    _add_answers(routes, services.annotation, rater_id)
    return routes


def _add_people(routes: APIRouter, annotation: AnnotationService, signer: Signer) -> None:
    @routes.post("/enter")
    def enter(body: EnterBody, request: Request) -> JSONResponse:
        rater = annotation.enter(body.name)
        reply = JSONResponse({"rater": _person(rater)})
        reply.set_cookie(
            COOKIE,
            signer.sign(rater.id),
            max_age=_YEAR,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return reply

    @routes.post("/leave")
    def leave() -> JSONResponse:
        reply = JSONResponse({"rater": None})
        reply.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return reply

    @routes.get("/me")
    def me(request: Request) -> JSONResponse:
        value = signer.read(request.cookies.get(COOKIE, ""))
        rater = annotation.find_rater(value) if type(value) is int else None
        return JSONResponse({"rater": _person(rater) if rater else None})


def _add_questions(routes: APIRouter, annotation: AnnotationService, rater_id: Any) -> None:
    @routes.get("/campaigns")
    def campaigns(_rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        return JSONResponse({"campaigns": [_campaign(info) for info in annotation.campaigns()]})

    @routes.post("/next")
    def next_item(body: NextBody, rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        view = annotation.next_item(body.campaign_id, rater)
        return _reply(annotation, body.campaign_id, rater, view)

    @routes.post("/undo")
    def undo(body: UndoBody, rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        view = annotation.undo(body.campaign_id, rater, body.request_id)
        return _reply(annotation, body.campaign_id, rater, view)


def _add_answers(routes: APIRouter, annotation: AnnotationService, rater_id: Any) -> None:
    @routes.post("/compare")
    def compare(body: CompareBody, rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        given = ComparisonInput(**{**body.model_dump(), "reasons": tuple(body.reasons)})
        saved, view = annotation.compare_then_next(given, rater)
        return _reply(annotation, body.campaign_id, rater, view, saved)

    @routes.post("/verdict")
    def verdict(body: VerdictBody, rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        judged, view = annotation.judge_then_next(VerdictInput(**body.model_dump()), rater)
        reveal = _reveal(judged.reveal)
        return _reply(annotation, body.campaign_id, rater, view, judged.saved, reveal=reveal)

    @routes.post("/review")
    def review(body: ReviewBody, rater: Annotated[int, Depends(rater_id)]) -> JSONResponse:
        saved, view = annotation.review_then_next(ReviewInput(**body.model_dump()), rater)
        return _reply(annotation, body.campaign_id, rater, view, saved)


def _reply(
    annotation: AnnotationService,
    campaign_id: int,
    rater: int,
    view: ItemView | None,
    saved: Saved | None = None,
    **more: Any,
) -> JSONResponse:
    progress = view.progress if view else annotation.progress(campaign_id, rater)
    reply: dict[str, Any] = {"next": _item(view), "progress": asdict(progress), **more}
    if saved:
        reply["saved"] = asdict(saved)
    return JSONResponse(reply)


def _person(rater: RaterInfo) -> dict[str, Any]:
    return {"id": rater.id, "name": rater.name}


def _campaign(info: CampaignInfo) -> dict[str, Any]:
    """What an annotator may know of a campaign; the judge's name is not part of it."""
    return {
        "id": info.id,
        "name": info.name,
        "kind": info.kind.value,
        "k": info.k,
        "instructions": info.instructions,
        "rubric": info.rubric,
        "closed": info.closed,
        "items": info.items,
        "finished": info.finished,
        "labels": info.labels,
        "raters": info.raters,
    }


def _item(view: ItemView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    return {
        "item_id": view.item_id,
        "campaign_id": view.campaign_id,
        "kind": view.kind.value,
        "prompt": view.prompt,
        "left": view.left,
        "right": view.right,
        "rubric": view.rubric,
        "reveal": _reveal(view.reveal),
    }


def _reveal(reveal: ItemReveal | None) -> dict[str, Any] | None:
    if reveal is None:
        return None
    return {"value": reveal.value, "reason": reveal.reason, "scale": reveal.scale.value}
