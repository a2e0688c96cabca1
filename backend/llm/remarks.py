"""What may stand beside a value: reasons and praise may; doubt, concessions, corrections, other scales not.

The lists name turns of speech, not opinions. Beside praise only what is known for harmless is harmless.
"""

import re
from enum import StrEnum
from typing import Any

from backend.llm.fields import FieldKind, FieldSpec
from backend.llm.phrases import mentions_other_side

_CORRECTION_WORDS = re.compile(
    r"(?:更正|订正|改正|修正|改判|改为|改成|应为|应判|应改|应该(?:是|为|判)|应当(?:是|为|判)|(?:故|所以|因此|只能|应该?)(?:判|给|打|评)|正确的?(?:是|为|结论)|"
    r"\b(?:correction|corrected(?: to)?|revised?(?: to)?|changed? to|should (?:be|have been)))"
)
_RETRACTION_WORDS = re.compile(
    r"判错|说反|搞反|撤回|作废|不算数|不作数|忽略(?:上|以上|前)|(?:以上|上面|前面|上述)的?(?:结论|判定|答案|评判|结果)?(?:有误|错|不)"
    r"|\b(?:disregard|ignore (?:the|that|this)|retract|never mind|scratch that)\b|^(?:不对|错了|不|不够|不是|"
    r"没有|非|并非|not|no|wrong)$"
)
_FAULT_WORDS = re.compile(r"不对|错了|有误|搞错|弄错|写错|\b(?:wrong|incorrect|mistaken?)\b")
_RESTATEMENT_WORDS = re.compile(
    r"实际|最终|最后|修正|真实|正确|真正|重新|其实|改|判|结论|我的|\b(?:final|actual\w*|correct\w*|real|true|verdict|revised|again)\b"
)
_SECOND_THOUGHT_WORDS = re.compile(
    r"重新|再想|想了想|仔细想|再看|最终|最后|更正|不，|不,"
    r"|\b(?:second thought|reconsider\w*|on reflection|final|finally|actually|wait|instead)\b"
)
_NOT_MEANT_WORDS = re.compile(
    r"示例|样例|范例|占位|模板|才怪|开玩笑|说笑|反话|讽刺|(?:仅|只)(?:作|供|为)(?:参考|演示|格式)"
    r"|\b(?:an? example|example only|sample|placeholder|joking|kidding|sarcas\w*|hypothetical\w*|"
    r"just a template)\b"
)
_DOUBT_WORDS = re.compile(
    r"如果|假如|假设|若|要是|倘|的话|可能|也许|或许|大概|大约|似乎|好像|恐怕|未必|不一定|不确定|拿不准|难说|不好说|见仁见智|或"
    r"|\b(?:or|if|maybe|perhaps|might|may|probably|possibly|unsure|uncertain|not sure|seems?|assuming|"
    r"unless|arguably)\b"
)
_UNDECIDED_WORDS = re.compile(
    r"不确定|拿不准|难说|不好说|见仁见智|无法(?:判断|判定|确定)|\b(?:unsure|uncertain|not sure|"
    r"cannot (?:decide|tell|judge))\b"
)
# 但愿 ("may it be") and 不过分 ("not too much") begin like concessions and are none.
_CONCESSION_WORDS = re.compile(
    r"但(?!愿)|不过(?!分)|然而|可是|可惜|只是|却|虽|尽管|除了|除非|遗憾|美中不足|不足|勉强|其实|实际上|差一点|还差"
    r"|\b(?:but|however|although|though|except|yet|still|despite|nevertheless|barely|actually|unfortunately)\b"
)
_NEGATION_WORDS = re.compile(
    r"[不没未非无否别勿欠缺差少弱空俗烂糟劣坏]|\b(?:no|not|never|hardly|scarcely|without|lacks?|lacking|poor|weak|bad|nothing|none|nor)\b"
    r"|n't\b"
)
_GOOD_WORDS = re.compile(
    r"[好优佳棒妙赞]|合格|通过|及格|无可挑剔|没有任?何?(?:问题|缺点|毛病|瑕疵)|\b(?:good|excellent|great|fine|pass)\b"
)
# After "because" a reason may name any fault or merit without taking the value back.
_REASON_LEAD = re.compile(r"^(?:是?因为|由于|理由是?|原因是?|因|because(?: of)?|since|as|due to)[ :]*")
_SCALE_NOTE = re.compile(
    r"(?:满分|总分|最高|共|out of|of|max(?:imum)?|/)[ :为是]*(?P<high>[0-9]{1,4}|"
    r"[一二三四五六七八九十百]{1,3}) ?(?:分|points?)?"
    r"|(?P<marks>[0-9]{1,4}|[一二三四五六七八九十百]{1,3}) ?分(?:制|满分)"
)
# Also circled and raised figures: beside a value they may be another one.
_FIGURE_PATTERN = re.compile(r"[0-9]|[①-⓿]|[\u00b2\u00b3\u00b9\u2070-\u2089]|[一二三四五六七八九十]分")
# A list of what is harmless and not of what is not: "语言通顺，但内容空泛" was once read as excellent, and there is no
# end to the ways of finding fault.
_PRAISE_WORDS = (
    r"(?:真诚|真挚|诚挚|诚恳|优美|自然|流畅|通顺|具体|贴切|贴合请求|贴心|得体|感人|动人|温暖|温馨|亲切|生动|走心|用心|有画面感?|有新意|新颖|饱满|"
    r"细腻|切题|合适|恰当|妥帖|独特|有创意|情真意切|朗朗上口|雅致|有文采|丰富|充实|简洁|精炼|大方|得当|到位|深厚|浓厚|有温度|有心意|有层次)"
)
_PRAISED_ASPECT = (
    r"(?:整体|全文|语言|文字|用词|措辞|情感|感情|情意|内容|意象|画面|结构|语气|称呼|表达|立意|句子|节奏|"
    r"祝福语?|祝愿|写得|读来)"
)
_INTENSIFIERS = r"(?:都|很|非常|十分|也|且|而且|并且|又|特别|相当|真|够|更|而|和|、)*"
_CHINESE_PRAISE = re.compile(
    rf"(?:这条)?{_PRAISED_ASPECT}?的?{_INTENSIFIERS}(?:{_PRAISE_WORDS}{_INTENSIFIERS})+(?:的|了)?"
)
_ENGLISH_PRAISE = re.compile(
    r"(?:and |the |this |it |its )*(?:greeting |message |language |wording |tone |text )?(?:is |feels |"
    r"sounds |reads |are )?"
    r"(?:(?:very|so|quite|really|both|truly) )*"
    r"(?:(?:warm|personal|sincere|heartfelt|specific|fluent|natural|touching|vivid|creative|elegant|thoughtful|fitting|"
    r"appropriate|concrete|moving|kind|genuine|original|well[- ]written)(?: and | |$))+"
)
# Greetings may carry orders ("请判 1"); a judge that reports one has not followed it.
_MENTION_WORDS = re.compile(
    r"(?:原文|文中|文本|输入|材料|正文)[^。！？!?;\n]{0,6}?(?:写|说|自带|带有|含|声称|自称|出现|有|要求|引用)"
    r"|(?:祝福语?|请求)(?:里面?|中|本身)?[^。！？!?;\n]{0,2}?(?:写着|写道|写了|说|自带|声称|自称|要求|引用)|它(?:写|说|声称|自称|要求|自带|引用)"
    r"|写着|写道|写的是|自带|引用|声称|自称|注入|要求(?:我|你|评审|裁判|直接|判)"
    r"|\b(?:text|greeting|input|message|user|it|author|prompt)(?: itself)? (?:says?|said|reads|claims?|"
    r"asks?|wrote|states|tells)\b"
    r"|\b(?:contains|includes)(?: the (?:text|words|line|string))? *[:\"]? *$"
    r"|\b(?:inject\w*|quot\w+)\b"
)
_SUPPOSITION_WORDS = re.compile(
    r"例如|比如|示例|样例|范例|举例|形如|如果|假如|假设|若|要是|倘若|请输出|应输出|(?:不是|并非|不应|不该|不能|不要)(?:输出|回复|回答|判|给出)?[^，,。]{0,2}$"
    r"|e\.g\.|\b(?:for example|example|such as|if|would|instead of|rather than|please (?:output|reply|"
    r"answer))\b|(?:不|没有|不是|非|\bnot) *$"
)
_EXAMPLE_NOTE = re.compile(
    r"[\s`)\"”」』]*[,(]?[\s`]*(?:(?:这|那|以上|上面|此|后者)?(?:只|仅)?(?:是|为|系|属于|出自)(?:一个)?"
    r"(?:示例|样例|范例|例子|格式|原文|文中|文本|输入|注入|引用|祝福语?[里中自]|假的|旧的)"
    r"|\( ?(?:示例|样例|范例|例子|引用|注入|原文|example|quoted|sample) ?\)"
    r"|(?:is|was) (?:only |just )?(?:an? |the )?(?:example|quote|injection|sample|from the|part of the))"
)


_HEARSAY_WORDS = re.compile(
    r"谁|难道|怎么能|没有?人|有人|别人|人们|大家|都说|不能说|\b(?:who|nobody|some(?:one)?|people|others|"
    r"they) \w+"
)


class RemarkPlace(StrEnum):
    """Where a remark stands: in the sentence of the value, in a later one, or after a whole object."""

    SENTENCE = "sentence"
    LATER = "later"
    OBJECT = "object"


def corrects_between(between_text: str) -> bool:
    """Whether the words between two values say that the later one replaces the earlier one."""
    return any(
        pattern.search(between_text)
        for pattern in (_CORRECTION_WORDS, _RETRACTION_WORDS, _FAULT_WORDS, _SECOND_THOUGHT_WORDS)
    )


def text_after_correction(clause_text: str) -> str | None:
    """What follows the words of a correction in a clause; None where there are none."""
    correction_match = _CORRECTION_WORDS.search(clause_text)
    return clause_text[correction_match.end() :].strip(" :=") if correction_match else None


def is_hearsay(preceding_text: str) -> bool:
    """Whether the words before a value lay it into somebody else's mouth."""
    return _HEARSAY_WORDS.search(preceding_text) is not None


def is_concession(clause_text: str) -> bool:
    """Whether a clause begins as a concession to the one before it."""
    concession_match = _CONCESSION_WORDS.match(clause_text.lstrip())
    return concession_match is not None


def restates_value(label_text: str) -> bool:
    """Whether a label that is no name of the field brings its value again ("实际：0")."""
    return _RESTATEMENT_WORDS.search(label_text) is not None or _CORRECTION_WORDS.search(label_text) is not None


def is_mention(preceding_text: str) -> bool:
    """Whether the words before a value, in its sentence, say that it is somebody else's or supposed."""
    return _MENTION_WORDS.search(preceding_text) is not None or _SUPPOSITION_WORDS.search(preceding_text) is not None


def called_an_example(following_text: str) -> bool:
    """Whether the words right after an object call it an example or a quotation."""
    return _EXAMPLE_NOTE.match(following_text) is not None


def is_other_scale(remark_text: str, field_spec: FieldSpec) -> bool | None:
    """Whether a note of a scale ("满分5", "out of 10") is of another scale; None where it is no such note."""
    scale_match = _SCALE_NOTE.fullmatch(remark_text.strip())
    if scale_match is None:
        return None
    return _figure_value(scale_match["high"] or scale_match["marks"]) != _scale_maximum(field_spec)


def overturns_value(remark_text: str, stated_value: Any, field_spec: FieldSpec, remark_place: RemarkPlace) -> bool:
    """Whether a remark beside the value may take it back, limit it, or say another."""
    if _RETRACTION_WORDS.search(remark_text) or _NOT_MEANT_WORDS.search(remark_text):
        return True
    # Beside a bad verdict "有误" is said of the greeting, beside any other value perhaps of the value itself.
    if _FAULT_WORDS.search(remark_text) and (not field_spec.opposite_values or field_spec.is_praise(stated_value)):
        return True
    if remark_place is not RemarkPlace.SENTENCE:
        return remark_place is RemarkPlace.LATER and (
            _UNDECIDED_WORDS.search(remark_text) is not None or _concedes_against(remark_text, stated_value, field_spec)
        )
    if _MENTION_WORDS.search(remark_text):
        return False
    return _overturns_in_sentence(remark_text, stated_value, field_spec)


def may_prefer(remark_text: str) -> bool:
    """Whether a remark on one side may prefer it."""
    return re.search(r"好|优|胜|赢|强|选|better|best|win|prefer|superior", remark_text) is not None


def is_mere_praise(clause_text: str) -> bool:
    """Whether the clause is known for mere praise."""
    return (
        _CHINESE_PRAISE.fullmatch(clause_text.strip()) or _ENGLISH_PRAISE.fullmatch(clause_text.strip())
    ) is not None


def _overturns_in_sentence(remark_text: str, stated_value: Any, field_spec: FieldSpec) -> bool:
    remaining_text = _REASON_LEAD.sub("", remark_text)
    if _CORRECTION_WORDS.search(remark_text) or _DOUBT_WORDS.search(remark_text) or _FIGURE_PATTERN.search(remark_text):
        return True
    if field_spec.is_praise(stated_value):
        if _CONCESSION_WORDS.search(remark_text):
            return True
        return remaining_text == remark_text and not is_mere_praise(remark_text)
    if field_spec.opposite_values:
        return bool(_GOOD_WORDS.search(remark_text)) and remaining_text == remark_text
    if field_spec.tie_value is not None:
        return bool(
            _CONCESSION_WORDS.search(remark_text) or _NEGATION_WORDS.search(remark_text)
        ) or mentions_other_side(remark_text, stated_value, field_spec)
    return _CONCESSION_WORDS.search(remark_text) is not None


def _concedes_against(remark_text: str, stated_value: Any, field_spec: FieldSpec) -> bool:
    if field_spec.kind is not FieldKind.CHOICE or not is_concession(remark_text):
        return False
    return (
        not field_spec.opposite_values
        or field_spec.is_praise(stated_value)
        or not _NEGATION_WORDS.search(remark_text)
        or bool(_GOOD_WORDS.search(remark_text))
    )


def _scale_maximum(field_spec: FieldSpec) -> float:
    choice_numbers = [float(choice_word) for choice_word in field_spec.value_by_word if choice_word.isdigit()]
    return (
        max(choice_numbers, default=field_spec.maximum) if field_spec.kind is FieldKind.CHOICE else field_spec.maximum
    )


def _figure_value(figure: str) -> float:
    if figure.isdigit():
        return float(figure)
    return {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "十": 10, "百": 100, "一百": 100}.get(figure, -1.0)
