"""Everything that can go wrong with a call: a flat vocabulary, one sentence each, typed."""

from enum import StrEnum

from backend.core.errors import UserError
from backend.llm.usage import ReportedUsage


class LLMErrorKind(StrEnum):
    """What went wrong. The ledger stores it, tests and reports count by it."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNAUTHORISED = "unauthorised"
    FORBIDDEN = "forbidden"
    NO_CREDIT = "no_credit"
    UNKNOWN_MODEL = "unknown_model"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    TOO_LONG = "too_long"
    FILTERED = "filtered"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CUT_OFF = "cut_off"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    REDIRECTED = "redirected"
    EMPTY = "empty"
    ERROR_BODY = "error_body"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


# No retry and no other item can cure these: the whole run stops with the sentence.
FATAL_KINDS = frozenset(
    {
        LLMErrorKind.UNAUTHORISED,
        LLMErrorKind.FORBIDDEN,
        LLMErrorKind.NO_CREDIT,
        LLMErrorKind.UNKNOWN_MODEL,
        LLMErrorKind.NOT_FOUND,
        LLMErrorKind.REDIRECTED,
        LLMErrorKind.BAD_REQUEST,
    }
)

# TOO_LARGE, TOO_LONG and FILTERED are in neither set: the same text would meet the same end, other texts need
# not.
RETRYABLE_KINDS = frozenset(
    {
        LLMErrorKind.REFUSED,
        LLMErrorKind.UNREACHABLE,
        LLMErrorKind.RATE_LIMITED,
        LLMErrorKind.SERVER_ERROR,
        LLMErrorKind.TIMEOUT,
        LLMErrorKind.CUT_OFF,
        LLMErrorKind.NOT_JSON,
        LLMErrorKind.EMPTY,
        LLMErrorKind.ERROR_BODY,
    }
)

# No model wrote anything, so nothing is billed, unless the error says otherwise.
UNBILLED_KINDS = frozenset(
    {
        *FATAL_KINDS,
        LLMErrorKind.REFUSED,
        LLMErrorKind.UNREACHABLE,
        LLMErrorKind.TOO_LONG,
        LLMErrorKind.FILTERED,
        LLMErrorKind.RATE_LIMITED,
        LLMErrorKind.SERVER_ERROR,
        LLMErrorKind.BUDGET,
        LLMErrorKind.CANCELLED,
    }
)

_ERROR_SENTENCES: dict[LLMErrorKind, tuple[str, str]] = {
    LLMErrorKind.REFUSED: (
        "{where} refuses connections; is the server running at that address?",
        "{where} 拒绝连接，请确认该地址的服务已经启动。",
    ),
    LLMErrorKind.UNREACHABLE: (
        "{where} cannot be reached; check the host name and the network.",
        "无法连接 {where}，请检查主机名和网络。",
    ),
    LLMErrorKind.UNAUTHORISED: (
        "{where} does not accept the API key (401); enter a valid key.",
        "{where} 不接受该 API 密钥（401），请填写有效的密钥。",
    ),
    LLMErrorKind.FORBIDDEN: (
        "{where} forbids this key to use the model (403); ask its provider or use another key.",
        "{where} 不允许该密钥使用此模型（403），请联系服务商或更换密钥。",
    ),
    LLMErrorKind.NO_CREDIT: (
        "{where} says the account has no credit left; top it up or use another endpoint.",
        "{where} 表示账户余额不足，请充值或改用其他端点。",
    ),
    LLMErrorKind.UNKNOWN_MODEL: (
        "{where} does not know the model; correct its name.",
        "{where} 没有这个模型，请改正模型名。",
    ),
    LLMErrorKind.NOT_FOUND: (
        "{where} has no chat API at this address (404); the base URL usually ends in /v1.",
        "{where} 的这个地址没有对话接口（404），基础地址通常以 /v1 结尾。",
    ),
    LLMErrorKind.BAD_REQUEST: (
        "{where} says the request is malformed; correct the model's parameters.",
        "{where} 认为请求格式有误，请改正模型参数。",
    ),
    LLMErrorKind.TOO_LONG: (
        "The text is too long for the model at {where}.",
        "文本超出了 {where} 的模型所能处理的长度。",
    ),
    LLMErrorKind.FILTERED: (
        "The content filter of {where} rejected the text.",
        "{where} 的内容过滤拒绝了这段文本。",
    ),
    LLMErrorKind.RATE_LIMITED: (
        "{where} is too busy (429); lower the concurrency or wait.",
        "{where} 正在限流（429），请降低并发或稍后再试。",
    ),
    LLMErrorKind.SERVER_ERROR: (
        "{where} failed on its side; try again later.",
        "{where} 出现服务器错误，请稍后再试。",
    ),
    LLMErrorKind.TIMEOUT: (
        "{where} did not answer in time; raise the timeout or lower the concurrency.",
        "{where} 未在时限内答复，请延长超时或降低并发。",
    ),
    LLMErrorKind.CUT_OFF: (
        "{where} cut the connection in the middle of its reply; try again.",
        "{where} 在答复途中断开了连接，请重试。",
    ),
    LLMErrorKind.NOT_JSON: (
        "{where} does not answer in the form of the OpenAI API; check the base URL (it usually ends in /v1).",
        "{where} 的答复不是 OpenAI 接口的格式，请检查基础地址（通常以 /v1 结尾）。",
    ),
    LLMErrorKind.TOO_LARGE: (
        "{where} sent far more than the request allows, so the reply was not read to its end.",
        "{where} 的答复远超请求允许的长度，因此没有读完。",
    ),
    LLMErrorKind.REDIRECTED: (
        "{where} sends requests on to another address, which is not followed for the sake of the API key;"
        " enter the right base URL.",
        "{where} 要求转到另一个地址，为保护 API 密钥没有跟随，请填写正确的基础地址。",
    ),
    LLMErrorKind.EMPTY: (
        "The model at {where} gave an empty reply.",
        "{where} 的模型给出了空的答复。",
    ),
    LLMErrorKind.ERROR_BODY: (
        "{where} answered 200 with an error inside; try again or look at its log.",
        "{where} 返回 200 但内容是错误信息，请重试或查看其日志。",
    ),
    LLMErrorKind.BUDGET: (
        "The budget of this run is used up; raise it to go on where it stopped.",
        "本次运行的预算已用完，提高预算后可从中断处继续。",
    ),
    LLMErrorKind.CANCELLED: (
        "The run was cancelled.",
        "运行已取消。",
    ),
    LLMErrorKind.STOPPED: (
        "The reply was stopped before its end.",
        "答复没有写完就停下了。",
    ),
}


class LLMError(UserError):
    """A call that gave no completion. `detail` holds the server's own words, shortened, without the key.

    `fatal` errors end the whole run; all others concern one item, which becomes unscored. `billed` says
    whether a model may have written something nonetheless, `reported_usage` what the server said about that.
    """

    def __init__(
        self,
        error_kind: LLMErrorKind,
        endpoint_name: str = "",
        detail: str = "",
        *,
        fatal: bool | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        billed: bool | None = None,
        reported_usage: ReportedUsage | None = None,
    ) -> None:
        en, zh = (sentence.format(where=endpoint_name) for sentence in _ERROR_SENTENCES[error_kind])
        super().__init__(en + (f" ({detail})" if detail else ""), zh + (f"（{detail}）" if detail else ""))
        self.kind = error_kind
        self.detail = detail
        # The kind's own answer is only a default: a content filter that struck after the model wrote is billed,
        # one that refused the request is not.
        self.fatal = error_kind in FATAL_KINDS if fatal is None else fatal
        self.retryable = error_kind in RETRYABLE_KINDS if retryable is None else retryable
        self.retry_after = retry_after
        self.billed = error_kind not in UNBILLED_KINDS if billed is None else billed
        self.reported_usage = reported_usage

    @property
    def ends_run(self) -> bool:
        """Whether no further call of the run makes sense."""
        return self.fatal or self.kind in (LLMErrorKind.BUDGET, LLMErrorKind.CANCELLED)


class BudgetReached(LLMError):
    """The run's budget is used up. Calls already in flight are finished and kept."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(LLMErrorKind.BUDGET, detail=detail)
