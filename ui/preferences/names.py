"""What stages, states, losses and ways of pairing are called on the page of pairs, in both languages."""

from markupsafe import Markup

from backend.core.enums import Decider, PairStage, PairState
from backend.preferences.pairing import PairingMode
from ui.components.language import BilingualText, Translator
from ui.components.widgets import pill_html

STAGE_NAMES: dict[PairStage, BilingualText] = {
    PairStage.FILTERING: ("筛请求", "filtering"),
    PairStage.WRITING: ("写候选", "writing"),
    PairStage.JUDGING: ("评议", "debating"),
    PairStage.PAIRING: ("配对", "pairing"),
    PairStage.DONE: ("完成", "done"),
}
STATE_NAMES: dict[PairState, BilingualText] = {
    PairState.PROPOSED: ("裁判定的", "by the judge"),
    PairState.CHECKING: ("等人复核", "with people"),
    PairState.REVIEW: ("待你决定", "for review"),
    PairState.ACCEPTED: ("已认可", "accepted"),
    PairState.FLIPPED: ("已对调", "flipped"),
    PairState.DISCARDED: ("已丢弃", "discarded"),
}
_STATE_PILLS = {
    PairState.PROPOSED: ("off", "○"),
    PairState.CHECKING: ("wait", "◷"),
    PairState.REVIEW: ("bad", "!"),
    PairState.ACCEPTED: ("good", "✓"),
    PairState.FLIPPED: ("run", "⇄"),
    PairState.DISCARDED: ("off", "✕"),
}
DECIDER_NAMES: dict[Decider, BilingualText] = {
    Decider.PANEL: ("裁判", "the judge"),
    Decider.PEOPLE: ("多人复核", "people"),
    Decider.PERSON: ("审阅者", "a reviewer"),
}
PAIRING_WAYS: dict[PairingMode, BilingualText] = {
    PairingMode.ALL: ("所有组合", "every combination"),
    PairingMode.BEST_WORST: ("最好配最差", "best with worst"),
    PairingMode.HARDEST: ("最难分的一对", "the hardest pair"),
}
REQUESTED_LENGTHS: dict[str, BilingualText] = {
    "free": ("长短不限", "any length"),
    "short": ("要求短", "asked short"),
    "long": ("要求长", "asked long"),
}
LOSS_REASONS: dict[str, BilingualText] = {
    "prompt_duplicate": ("重复的请求", "repeated request"),
    "prompt_near_duplicate": ("几乎一样的请求", "nearly the same request"),
    "prompt_several": ("一次要好几条", "asks for several"),
    "prompt_not_a_greeting": ("不是要祝福", "no greeting"),
    "prompt_unsafe": ("伤人的请求", "unsafe"),
    "prompt_injection": ("给程序下指令", "orders to the program"),
    "prompt_other_language": ("要外文的", "another language"),
    "prompt_no_words": ("没有文字", "no words"),
    "prompt_too_long": ("请求太长", "too long"),
    "prompt_empty": ("空请求", "empty"),
    "prompt_unreadable": ("读不出的行", "unreadable line"),
    "prompt_one_sided": ("全好或全差的请求", "requests all good or all bad"),
    "candidate_empty": ("没写出来", "nothing written"),
    "candidate_garbage": ("乱码", "garbage"),
    "candidate_refused": ("拒绝作答", "refused"),
    "candidate_wrong_language": ("不是中文", "not Chinese"),
    "candidate_repeats_prompt": ("只重复请求", "repeats the request"),
    "candidate_several": ("写了好几条", "several in one"),
    "candidate_placeholder": ("留了空", "blanks left"),
    "candidate_repetitive": ("车轱辘话", "repeats itself"),
    "candidate_too_long": ("太长", "too long"),
    "candidate_wrong_length": ("字数不对", "wrong length"),
    "candidate_cut": ("没写完", "cut off"),
    "candidate_invented_name": ("编了名字", "invented a name"),
    "candidate_wrong_number": ("岁数不对", "wrong age or anniversary"),
    "candidate_near_duplicate": ("和另一条几乎一样", "near-duplicate"),
    "candidate_unanswered": ("模型没有答复", "no answer"),
    "verdict_unscored": ("裁判没给结论", "no verdict"),
    "pair_second": ("第二次评判不认", "not confirmed by the second opinion"),
    "pair_length": ("靠字数就能猜中", "told by length"),
    "pair_style": ("靠表面特征就能猜中", "told by style"),
    "pair_checking": ("等人复核", "with people"),
    "pair_review": ("待审阅者决定", "for review"),
    "pair_discarded": ("被丢弃", "discarded"),
}


def loss_reason(translate: Translator, reason_name: str) -> str:
    """Why something was lost; a reason without a name in the table is shown as it is."""
    # A reason that a newer version of the program stored must not break the page of its run.
    return translate(*LOSS_REASONS[reason_name]) if reason_name in LOSS_REASONS else reason_name.partition("_")[2]


def state_pill(translate: Translator, pair_state: PairState) -> Markup:
    """A pair's state as sign, word and colour."""
    return pill_html(*_STATE_PILLS[pair_state], translate(*STATE_NAMES[pair_state]))
