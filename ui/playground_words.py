"""What went wrong with a model, in words for visitors: no addresses, nothing only its keeper can mend."""

from backend.errors import Message
from backend.llm.errors import LLMErrorKind
from backend.playground.records import CardView

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
    return _FAULT_MESSAGES.get(LLMErrorKind(card_view.fault), card_view.note)
