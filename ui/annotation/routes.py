"""The annotate page's routes: plain HTTP beside Gradio, for votes go several times faster this way.

Every answer to a submission carries the next item, so that a label costs the page one round trip.
"""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.annotation.records import (
    CampaignInfo,
    ComparisonInput,
    ItemReveal,
    ItemView,
    RaterInfo,
    ReviewInput,
    SavedLabel,
    VerdictInput,
)
from backend.annotation.service import AnnotationService
from backend.core.signing import Signer
from backend.services import Services
from ui.components.routes import ErrorMessageRoute, NotSignedIn, RequestId, RowId, SignedCookie

RATER_COOKIE = "zhufu_rater"

# The bounds of a 32-bit column: beyond them PostgreSQL answers with an error of its own.
RevisionNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
DimensionPoints = Annotated[int, Field(ge=1, le=3)]
ShortWord = Annotated[str, Field(max_length=40)]


class _StrictBody(BaseModel):
    # Strict: without it "1" and true would count as the number 1, a vote that nobody gave; a field that is
    # unknown is a page of another version.
    model_config = ConfigDict(strict=True, extra="forbid")


class EnterBody(_StrictBody):
    """A name to work under."""

    name: Annotated[str, Field(max_length=200)]


class NextBody(_StrictBody):
    """The campaign to go on with."""

    campaign_id: RowId


class CompareBody(_StrictBody):
    """An answer to a compare item."""

    campaign_id: RowId
    item_id: RowId
    outcome: ShortWord
    request_id: RequestId
    reasons: Annotated[list[ShortWord], Field(max_length=10)] = []
    # A day at most, and no NaN or infinity, which JSON of Python lets through and one mean of reading times
    # would not survive.
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    amends: RevisionNumber | None = None


class VerdictBody(_StrictBody):
    """A blind verdict; null passes the item over."""

    campaign_id: RowId
    item_id: RowId
    # Without a default: a verdict that is left out must not count as “passed over”.
    value: Annotated[int, Field(ge=0, le=1)] | None
    request_id: RequestId
    dimensions: Annotated[dict[ShortWord, DimensionPoints], Field(max_length=5)] | None = None
    amends: RevisionNumber | None = None


class ReviewBody(_StrictBody):
    """Agreement with the judge; null is no opinion."""

    campaign_id: RowId
    item_id: RowId
    # As above: to leave it out is no opinion given.
    agrees: bool | None
    request_id: RequestId
    reason: Annotated[str, Field(max_length=4_000)] = ""
    amends: RevisionNumber | None = None


class UndoBody(_StrictBody):
    """The campaign whose latest answer is taken back."""

    campaign_id: RowId
    request_id: RequestId


def build_router(services: Services) -> APIRouter:
    """The routes under /api/annotation. Who answers comes from the signed cookie, never from a body."""
    api_routes = APIRouter(prefix="/api/annotation", route_class=ErrorMessageRoute, default_response_class=JSONResponse)
    # Signed for this purpose alone: a visitor's cookie of the write page cannot be passed off as a rater's.
    rater_cookie = SignedCookie(RATER_COOKIE, Signer(services.settings.home, "zhufu-rater"))

    def identify_rater(request: Request) -> int:
        cookie_value = rater_cookie.read(request)
        # A cookie may outlive its database; the page must then ask for the name again (401). Not isinstance: a
        # bool is an int too, and True would be the first rater.
        if type(cookie_value) is not int or services.annotation.find_rater(cookie_value) is None:
            raise NotSignedIn("We do not know you yet; enter your name first.", "还不认识你，请先填写名字。")
        return cookie_value

    _add_rater_routes(api_routes, services.annotation, rater_cookie)
    _add_item_routes(api_routes, services.annotation, identify_rater)
    _add_answer_routes(api_routes, services.annotation, identify_rater)
    return api_routes


def _add_rater_routes(api_routes: APIRouter, annotation: AnnotationService, rater_cookie: SignedCookie) -> None:
    @api_routes.post("/enter")
    def enter_name(request_body: EnterBody, request: Request) -> JSONResponse:
        rater_info = annotation.enter(request_body.name)
        response = JSONResponse({"rater": _rater_data(rater_info)})
        rater_cookie.write(request, response, rater_info.id)
        return response

    @api_routes.post("/leave")
    def forget_rater() -> JSONResponse:
        response = JSONResponse({"rater": None})
        rater_cookie.delete(response)
        return response

    # 200 without a rater and no 401: the page asks this first, and not to be known yet is no error.
    @api_routes.get("/me")
    def current_rater(request: Request) -> JSONResponse:
        cookie_value = rater_cookie.read(request)
        rater_info = annotation.find_rater(cookie_value) if type(cookie_value) is int else None
        return JSONResponse({"rater": _rater_data(rater_info) if rater_info else None})


def _add_item_routes(api_routes: APIRouter, annotation: AnnotationService, identify_rater: Any) -> None:
    @api_routes.get("/campaigns")
    def list_campaigns(_annotator_id: Annotated[int, Depends(identify_rater)]) -> JSONResponse:
        return JSONResponse({"campaigns": [_campaign_data(campaign) for campaign in annotation.campaigns()]})

    # POST, for it leases the item: a browser or proxy that repeats or preloads a GET would take items away
    # from others.
    @api_routes.post("/next")
    def next_item(request_body: NextBody, annotator_id: Annotated[int, Depends(identify_rater)]) -> JSONResponse:
        item_view = annotation.next_item(request_body.campaign_id, annotator_id)
        return _item_response(annotation, request_body.campaign_id, annotator_id, item_view)

    @api_routes.post("/undo")
    def undo_answer(request_body: UndoBody, annotator_id: Annotated[int, Depends(identify_rater)]) -> JSONResponse:
        item_view = annotation.undo(request_body.campaign_id, annotator_id, request_body.request_id)
        return _item_response(annotation, request_body.campaign_id, annotator_id, item_view)


def _add_answer_routes(api_routes: APIRouter, annotation: AnnotationService, identify_rater: Any) -> None:
    @api_routes.post("/compare")
    def submit_comparison(
        request_body: CompareBody, annotator_id: Annotated[int, Depends(identify_rater)]
    ) -> JSONResponse:
        # JSON knows lists alone; the frozen record holds tuples.
        comparison = ComparisonInput(**{**request_body.model_dump(), "reasons": tuple(request_body.reasons)})
        saved_answer, item_view = annotation.compare_then_next(comparison, annotator_id)
        return _item_response(annotation, request_body.campaign_id, annotator_id, item_view, saved_answer)

    @api_routes.post("/verdict")
    def submit_verdict(
        request_body: VerdictBody, annotator_id: Annotated[int, Depends(identify_rater)]
    ) -> JSONResponse:
        judged_item, item_view = annotation.judge_then_next(VerdictInput(**request_body.model_dump()), annotator_id)
        reveal_data = _reveal_data(judged_item.reveal)
        return _item_response(
            annotation,
            request_body.campaign_id,
            annotator_id,
            item_view,
            judged_item.saved,
            reveal=reveal_data,
        )

    @api_routes.post("/review")
    def submit_review(request_body: ReviewBody, annotator_id: Annotated[int, Depends(identify_rater)]) -> JSONResponse:
        saved_answer, item_view = annotation.review_then_next(ReviewInput(**request_body.model_dump()), annotator_id)
        return _item_response(annotation, request_body.campaign_id, annotator_id, item_view, saved_answer)


def _item_response(
    annotation: AnnotationService,
    campaign_id: int,
    annotator_id: int,
    item_view: ItemView | None,
    saved_answer: SavedLabel | None = None,
    **extra_fields: Any,
) -> JSONResponse:
    # Comes with the item where there is one, from the same transaction; asked again only at the end.
    progress = item_view.progress if item_view else annotation.progress(campaign_id, annotator_id)
    response_data: dict[str, Any] = {
        "next": _item_data(item_view),
        "progress": asdict(progress),
        **extra_fields,
    }
    if saved_answer:
        response_data["saved"] = asdict(saved_answer)
    return JSONResponse(response_data)


def _rater_data(rater_info: RaterInfo) -> dict[str, Any]:
    return {"id": rater_info.id, "name": rater_info.name}


def _campaign_data(campaign: CampaignInfo) -> dict[str, Any]:
    """What an annotator may know of a campaign; the judge's name is not part of it."""
    return {
        "id": campaign.id,
        "name": campaign.name,
        "kind": campaign.kind.value,
        "k": campaign.k,
        "instructions": campaign.instructions,
        "rubric": campaign.rubric,
        "closed": campaign.closed,
        "items": campaign.items,
        "finished": campaign.finished,
        "labels": campaign.labels,
        "raters": campaign.raters,
    }


def _item_data(item_view: ItemView | None) -> dict[str, Any] | None:
    if item_view is None:
        return None
    return {
        "item_id": item_view.item_id,
        "campaign_id": item_view.campaign_id,
        "kind": item_view.kind.value,
        "prompt": item_view.prompt,
        "left": item_view.left,
        "right": item_view.right,
        "rubric": item_view.rubric,
        "reveal": _reveal_data(item_view.reveal),
    }


def _reveal_data(item_reveal: ItemReveal | None) -> dict[str, Any] | None:
    if item_reveal is None:
        return None
    return {"value": item_reveal.value, "reason": item_reveal.reason, "scale": item_reveal.scale.value}
