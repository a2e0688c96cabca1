"""Whether a text can stand as the greeting that was requested. Stated rules, no model, no taste."""

import re
import unicodedata
from collections import Counter
from enum import StrEnum

from backend.core.errors import Message
from backend.core.text import count_characters, normalize_text, strip_white_space
from backend.generation.request import NUMBER_PATTERN, GreetingRequest, parse_number
from backend.generation.rules import compiled_rule, word_pattern
from backend.generation.thoughts import cut_stored_thoughts

# Characters without white space; the longest good greetings in the research data have about 350.
LONGEST_GREETING = 600


class Fault(StrEnum):
    """Why a text cannot stand as a greeting; in the order in which faults are looked for, the first one is reported."""

    EMPTY = "empty"
    GARBAGE = "garbage"
    REFUSED = "refused"
    WRONG_LANGUAGE = "wrong_language"
    REPEATS_PROMPT = "repeats_prompt"
    SEVERAL = "several"
    PLACEHOLDER = "placeholder"
    REPETITIVE = "repetitive"
    TOO_LONG = "too_long"
    WRONG_LENGTH = "wrong_length"
    CUT = "cut"
    INVENTED_NAME = "invented_name"
    WRONG_NUMBER = "wrong_number"

    @property
    def message(self) -> Message:
        """One sentence that says what is wrong."""
        return _FAULT_MESSAGES[self]


_FAULT_MESSAGES = {
    Fault.EMPTY: Message("Nothing was written.", "没有写出内容。"),
    Fault.GARBAGE: Message("The text holds broken or technical characters.", "文字里有乱码或技术符号。"),
    Fault.REFUSED: Message("The model refused or asked back instead of writing.", "模型拒绝了，或没有写而是反问。"),
    Fault.WRONG_LANGUAGE: Message("The greeting is not in Chinese.", "祝福不是中文的。"),
    Fault.REPEATS_PROMPT: Message("The text only repeats the request.", "只是重复了请求。"),
    Fault.SEVERAL: Message("Several greetings where one was asked for.", "要的是一条，却写了好几条。"),
    Fault.PLACEHOLDER: Message("A blank was left to fill in, such as “[name]”.", "留有待填的空，例如“[名字]”。"),
    Fault.REPETITIVE: Message("The text repeats itself.", "文字反复重复。"),
    Fault.TOO_LONG: Message(f"Longer than {LONGEST_GREETING} characters.", f"超过 {LONGEST_GREETING} 个字，太长了。"),
    Fault.WRONG_LENGTH: Message("Not the length that was asked for.", "字数和要求的不一样。"),
    Fault.CUT: Message("The text breaks off in the middle of a sentence.", "句子没有写完。"),
    Fault.INVENTED_NAME: Message(
        "Somebody is called by a name that the request does not mention.", "用了请求里没有的人名。"
    ),
    Fault.WRONG_NUMBER: Message(
        "Another age or anniversary than the one that was asked for.", "年龄或周年数和要求的不一样。"
    ),
}


_SURNAMES, _FIRST_NAMES = word_pattern("surname"), word_pattern("given")
# Where somebody may be addressed, and what may follow.
_ADDRESS_START = r"(?:^|(?<=[，,。！!？?；;：:\n\s“「—~～])|(?<=[亲敬可]爱的)|(?<=尊敬的)|(?<=[祝愿给致福贺喜]))"
_ADDRESS_END = r"(?=$|[，,。！!？?；;：:、\n\s”」~～]|您|你|生日|新婚|新年|节日|早|晚安|好|和|与|的)"
# "王总", "李阿姨"
_TITLED_NAME = re.compile(
    rf"{_ADDRESS_START}((?:{_SURNAMES}|{word_pattern('surname_wide')}){word_pattern('title')}){_ADDRESS_END}",
)
# Stock names of model-written text: "小明".
_STOCK_NAME = re.compile(
    rf"{_ADDRESS_START}({word_pattern('stock_name')})(?!子|朋友|心|哥|姐|提琴|时|店){_ADDRESS_END}"
)
# A full name where somebody is spoken to: "王晓雨，生日快乐".
_FULL_NAME = re.compile(
    rf"(?:^|(?<=[。！!？?\n])|(?<=[亲敬]爱的)|(?<=尊敬的)|(?<=祝))({_SURNAMES}{_FIRST_NAMES}{{1,2}})"
    r"(?=[，,：:！!]|生日快乐|新婚快乐|同学|先生|女士|老师)"
)
# A Latin name: "亲爱的Lily", "Dear Tom,", "Tom，生日快乐".
_LATIN_NAME = re.compile(
    r"(?:[亲敬]爱的|尊敬的|\b[Dd]ear\s|祝|^)\s*([A-Z][a-z]{2,11})(?=\s*(?:[，,：:！!]|生日|新婚|新年|同学|老师))"
)


def find_invented_name(request_text: str, greeting_text: str) -> str | None:
    """A personal name that the text calls somebody by and the request does not contain; None without one."""
    for name_pattern in (_TITLED_NAME, _STOCK_NAME, _FULL_NAME, _LATIN_NAME):
        for name_match in name_pattern.finditer(greeting_text):
            if not compiled_rule("no_name").fullmatch(name_match[1]) and not _is_in_request(
                name_match[1], request_text
            ):
                return name_match[1]
    return None


def _is_in_request(personal_name: str, request_text: str) -> bool:
    """Whether the request has the name, or its surname with another title ("王姓同事", "姓李的老师")."""
    return (
        personal_name.lower() in request_text.lower()
        or f"姓{personal_name[0]}" in request_text
        or f"{personal_name[0]}姓" in request_text
    )


_NUMBER_GROUP = f"({NUMBER_PATTERN})"
_REQUESTED_NUMBER = re.compile(rf"{_NUMBER_GROUP}\s*(?:周岁|岁|大寿|寿|华诞|(周年))")
# Only what states the day that is celebrated: 永远十八岁 and 又满一岁 wish something else.
_STATED_NUMBER = re.compile(
    rf"(?<!又)满{_NUMBER_GROUP}周?岁|{_NUMBER_GROUP}(?:大寿|寿[辰宴诞]|华诞|周岁|(周年))"
    rf"|(?<!永远)(?<!年年)(?<!还像){_NUMBER_GROUP}岁(?:的?(?:生日|生辰|寿|好日子|大喜)|华诞|快乐)"
)
# Ages are also written digit by digit: 六六 is 66.
_DIGIT_ROW = re.compile("[一二三四五六七八九]{2}")
# 百岁 is a wish as often as an age.
CENTURY_AGE = 100


def other_number(request_text: str, greeting_text: str) -> str | None:
    """The words that state another age or anniversary than the request names; None where it names none."""
    requested_numbers = {
        (bool(number_match[2]), _parse_age(number_match[1]))
        for number_match in _REQUESTED_NUMBER.finditer(request_text)
    }
    requested_kinds = {is_anniversary for is_anniversary, _ in requested_numbers}
    for number_match in _STATED_NUMBER.finditer(greeting_text):
        is_anniversary, stated_number = (
            bool(number_match[3]),
            _parse_age(number_match[1] or number_match[2] or number_match[4]),
        )
        if (
            is_anniversary in requested_kinds
            and stated_number != CENTURY_AGE
            and (is_anniversary, stated_number) not in requested_numbers
        ):
            return number_match[0]
    return None


def _parse_age(number_text: str) -> int | None:
    if _DIGIT_ROW.fullmatch(number_text):
        return 10 * (parse_number(number_text[0]) or 0) + (parse_number(number_text[1]) or 0)
    return parse_number(number_text)


_INVISIBLE_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\ufeff]")
_CODE_FENCE = re.compile(r"^```[a-z]*\n?(.*?)\n?```$", re.DOTALL)
_END_TOKENS = re.compile(r"(?:<\|(?:im_end|endoftext|eot_id|end)\|>|</s>|<eos>)+\s*$")
_BOLD_MARKUP = re.compile(r"\*\*([^*\n]+)\*\*")
_LEADING_PHRASES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # a role
        r"^(?:<\|im_start\|>)?\s*(?:assistant|助手|AI|模型|答|回答|输出|回复)\s*[:：\n]\s*",
        # "好的，以下是为您写的生日祝福："
        r"^(?:(?:好的|好呀|好|当然(?:可以)?|没问题|可以的?|收到|明白了?)[，,。！!～~]\s*)?[^：:\n。！!？?]{0,16}"
        r"(?:(?:以下|下面|这)(?:就?是|为|有)|请看|请查收|[为给帮替](?:您|你)(?:写|准备|生成|创作|拟|整理|编|想)(?:了|的|好|一))"
        r"[^：:\n。！!？?]{0,40}[：:]\s*",
        r"^(?:好的|当然可以|当然|没问题|收到)[，,。！!]\s*\n+",
        r"^(?:sure|certainly|of course|okay|here (?:is|are)|here's)[^:：\n]{0,80}[:：]\s*",
        # a heading
        r"^#{1,4}\s+[^\n]{1,30}\n+",
        r"^【[^】\n]{1,15}】\s*[:：]?\s*\n+",
        r"^(?:【(?:[^】\n]{0,8}祝福[^】\n]{0,4}|文案|正文)】|(?:生日|新年|节日|新婚)?(?:祝福语?|贺[词卡语]|文案|正文|内容))\s*[:：]\s*",
    )
)
_TRAILING_REMARK = re.compile(
    r"\n+\s*(?:[（(][^（）()\n]{0,30}(?:字数|字左右|共\d+字|注)[^（）()\n]{0,60}[）)]"
    r"|(?:希望(?:这[条段个份]|您|你|以上|能)|如果(?:您|你)?(?:需要|还|想)|您可以|你可以|需要(?:我|更多|调整)|注[：:])[^\n]{0,120})\s*$"
)
_NUMBERED_LINE = re.compile(r"^\s*(?:\d{1,2}\s*[.．、)）](?!\d)|[（(][\d一二三四五六七八九十]{1,2}[)）]|[-•*·]\s)\s*")
_QUOTE_PAIRS = {"“": "”", "「": "」", "『": "』", "‘": "’", '"': '"', "《": "》", "'": "'", "`": "`"}


def clean_greeting(raw_text: str) -> str:
    """The greeting without what stands around it. Never raises; cleaning twice changes nothing more.

    Where the text would vanish (an introduction and nothing else) it is left as it is, for `find_fault`.
    """
    cleaned_text = normalize_text(_INVISIBLE_CHARACTERS.sub("", unicodedata.normalize("NFC", raw_text)))
    while True:
        # Again until nothing changes: a fence uncovers a heading, a heading a quotation.
        shorter_text = _strip_wrapping(cleaned_text)
        if shorter_text == cleaned_text or not shorter_text:
            return cleaned_text
        cleaned_text = shorter_text


def _strip_wrapping(stripped_text: str) -> str:
    stripped_text = _END_TOKENS.sub("", cut_stored_thoughts(stripped_text)).strip()
    if fence_match := _CODE_FENCE.match(stripped_text):
        stripped_text = fence_match[1].strip()
    stripped_text = _BOLD_MARKUP.sub(r"\1", stripped_text)
    for lead_pattern in _LEADING_PHRASES:
        stripped_text = (
            lead_pattern.sub("", stripped_text, count=1)
            if lead_pattern.sub("", stripped_text, count=1).strip()
            else stripped_text
        )
    stripped_text = _TRAILING_REMARK.sub("", stripped_text).strip()
    if len(numbered_lines(stripped_text)) == 1 and _NUMBERED_LINE.match(stripped_text):
        stripped_text = _NUMBERED_LINE.sub("", stripped_text, count=1)
    return normalize_text(_without_quotes(stripped_text))


def numbered_lines(greeting_text: str) -> list[str]:
    """The lines that begin with a number or a bullet."""
    return [text_line for text_line in greeting_text.split("\n") if _NUMBERED_LINE.match(text_line)]


def _without_quotes(quoted_text: str) -> str:
    closing_quote = _QUOTE_PAIRS.get(quoted_text[:1])
    inner_text = quoted_text[1:-1]
    if (
        len(quoted_text) > 2
        and closing_quote == quoted_text[-1]
        and quoted_text[0] not in inner_text
        and closing_quote not in inner_text
    ):
        return inner_text
    return quoted_text


_HAN_CHARACTER = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_FOREIGN_CHARACTER = re.compile(r"[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff\u0e00-\u0e7f]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f']{2,}")
_COUNTED_CHARACTER = re.compile(r"[^\W_]")

_ORDINAL_LABEL = re.compile(r"(?:版本|方案|选项|祝福语?|第)\s*[一二三四五\d]\s*(?:条|个|版|种|句)?\s*[：:、.]")
_INLINE_NUMBER = re.compile(r"(?:^|[\s。！!；;])([1-9])\s*[.．、)）](?!\d)")
_ASKING_WORDS = re.compile(
    r"祝福[语词话]|贺[词语]|[金短]?句|文案|怎么|如何|大全|的话|发|写|来一|说|简短|寄语|吉祥话|吉利话"
)
_OPEN_ENDING = re.compile(
    r"[，,、：:；;（(“‘《「『\-]$|[^生终如]与$|以及$|[，。！][^，。！]{0,6}(?:[您你]的|因为|如果|不仅|让我们?)$"
)
_BRACKET_PAIRS = ("“”", "（）", "《》", "「」", "『』", "()")
_FOUR_CHARACTERS = re.compile(r"[四4]字")
PHRASE_LENGTH = 4
_ADDRESS_CLAUSE = re.compile(r"[^愿祝恭贺]{1,6}")
_CLAUSE_BREAK = re.compile(r"[，,、。．！!？?；;：:…~～\n\s]+")

_SENTENCE_BREAK = re.compile(r"[。．！!？?；;…\n]+")

# A stretch of that many characters that occurs that often…
LOOP_LENGTH, LOOP_REPEATS = 4, 4
# …and fills that share of the text, a clause of the same length said three times, or a sentence of twice the
# length said twice: the text loops.
LOOP_SHARE = 0.4


def find_fault(request: GreetingRequest, greeting_text: str, *, was_cut: bool = False) -> Fault | None:
    """The first fault of the text as one greeting for the request, None where it has none. Never raises.

    The text is judged as it is: `clean_greeting` comes before, where a model wrote it. `was_cut` says that the
    model ran out of tokens, which is a fault of a text without any other.
    """
    text_faults = (named_fault for named_fault, has_fault in _FAULT_RULES if has_fault(request, greeting_text))
    return next(text_faults, Fault.CUT if was_cut else None)


def _is_empty(_request: GreetingRequest, greeting_text: str) -> bool:
    return not _COUNTED_CHARACTER.search(greeting_text)


def _is_garbage(_request: GreetingRequest, greeting_text: str) -> bool:
    if compiled_rule("broken").search(greeting_text):
        return True
    plain_characters = [
        character
        for character in strip_white_space(greeting_text)
        # Emoji and what modifies them count neither way: pictures are no garbage.
        if unicodedata.category(character) not in ("So", "Sk", "Mn", "Cf")
    ]
    return sum(character.isalnum() for character in plain_characters) < 0.5 * len(plain_characters)


def _is_refusal(_request: GreetingRequest, greeting_text: str) -> bool:
    return bool(compiled_rule("refused").search(greeting_text))


def _is_wrong_language(request: GreetingRequest, greeting_text: str) -> bool:
    chinese_count, foreign_count = (
        len(_HAN_CHARACTER.findall(greeting_text)),
        len(_FOREIGN_CHARACTER.findall(greeting_text)),
    )
    if request.language == "en":
        return foreign_count > chinese_count and foreign_count > 10
    return (
        foreign_count > 0.2 * (chinese_count + foreign_count)
        or len(_LATIN_WORD.findall(greeting_text)) > chinese_count / 2
    )


def _repeats_request(request: GreetingRequest, greeting_text: str) -> bool:
    request_letters, text_letters = _counted_letters(request.text), _counted_letters(greeting_text)
    if text_letters == request_letters or (
        # A part of the request can be the whole answer where a length is fixed: “生日快乐四字”.
        len(text_letters) < len(request_letters) and text_letters in request_letters and request.exact_chars is None
    ):
        return True
    return (
        # Below six characters a repeated request cannot be told from an answer that begins alike.
        len(request_letters) >= 6
        and text_letters.startswith(request_letters)
        and bool(_ASKING_WORDS.search(request.text))
    )


def _holds_several(request: GreetingRequest, greeting_text: str) -> bool:
    if request.count > 1:
        return False
    if len(numbered_lines(greeting_text)) > 1 or len(set(_ORDINAL_LABEL.findall(greeting_text))) > 1:
        return True
    inline_numbers = [int(number_match[1]) for number_match in _INLINE_NUMBER.finditer(greeting_text)]
    return inline_numbers[:2] == [1, 2]


def _has_placeholder(request: GreetingRequest, greeting_text: str) -> bool:
    # A blank that the request itself has is quoted, not left.
    return any(blank_match[0] not in request.text for blank_match in compiled_rule("blank").finditer(greeting_text))


def _is_repetitive(_request: GreetingRequest, greeting_text: str) -> bool:
    all_letters = _counted_letters(greeting_text)
    clause_counts = Counter(
        clause_letters
        for text_part in _CLAUSE_BREAK.split(greeting_text)
        if len(clause_letters := _counted_letters(text_part)) >= LOOP_LENGTH
    )
    sentence_counts = Counter(
        sentence_letters
        for text_part in _SENTENCE_BREAK.split(greeting_text)
        if len(sentence_letters := _counted_letters(text_part)) >= 2 * LOOP_LENGTH
    )
    if max(clause_counts.values(), default=0) >= 3 or max(sentence_counts.values(), default=0) >= 2:
        return True
    stretch_counts = Counter(
        all_letters[start_index : start_index + LOOP_LENGTH]
        for start_index in range(len(all_letters) - LOOP_LENGTH + 1)
    )
    highest_count = max(stretch_counts.values(), default=0)
    return highest_count >= LOOP_REPEATS and highest_count * LOOP_LENGTH > LOOP_SHARE * len(all_letters)


def _is_too_long(_request: GreetingRequest, greeting_text: str) -> bool:
    return count_characters(greeting_text) > LONGEST_GREETING


def _has_wrong_length(request: GreetingRequest, greeting_text: str) -> bool:
    letter_count = len(_counted_letters(greeting_text))
    if request.exact_chars is not None:
        return letter_count != request.exact_chars and not _is_in_fours(request, greeting_text)
    return request.max_chars is not None and letter_count > request.max_chars


def _is_in_fours(request: GreetingRequest, greeting_text: str) -> bool:
    """Who asks for 四字 without 个 may mean phrases of four characters, however many, after an address."""
    if request.exact_chars != PHRASE_LENGTH or not _FOUR_CHARACTERS.search(request.text):
        return False
    clause_letters = [
        letters for clause_text in _CLAUSE_BREAK.split(greeting_text) if (letters := _counted_letters(clause_text))
    ]
    if len(clause_letters) > 2 and _ADDRESS_CLAUSE.fullmatch(clause_letters[0]):
        clause_letters = clause_letters[1:]
    return {len(clause_text) for clause_text in clause_letters} == {PHRASE_LENGTH}


def _is_cut_off(_request: GreetingRequest, greeting_text: str) -> bool:
    stripped_text = greeting_text.rstrip()
    return bool(_OPEN_ENDING.search(stripped_text)) or any(
        stripped_text.count(bracket_pair[0]) > stripped_text.count(bracket_pair[1]) for bracket_pair in _BRACKET_PAIRS
    )


def _invents_name(request: GreetingRequest, greeting_text: str) -> bool:
    return find_invented_name(request.text, greeting_text) is not None


def _states_other_number(request: GreetingRequest, greeting_text: str) -> bool:
    return other_number(request.text, greeting_text) is not None


def _counted_letters(counted_text: str) -> str:
    """Letters, digits and Chinese characters only: what people count when they count characters."""
    return "".join(_COUNTED_CHARACTER.findall(counted_text))


_FAULT_RULES = (
    (Fault.EMPTY, _is_empty),
    (Fault.GARBAGE, _is_garbage),
    (Fault.REFUSED, _is_refusal),
    (Fault.WRONG_LANGUAGE, _is_wrong_language),
    (Fault.REPEATS_PROMPT, _repeats_request),
    (Fault.SEVERAL, _holds_several),
    (Fault.PLACEHOLDER, _has_placeholder),
    (Fault.REPETITIVE, _is_repetitive),
    (Fault.TOO_LONG, _is_too_long),
    (Fault.WRONG_LENGTH, _has_wrong_length),
    (Fault.CUT, _is_cut_off),
    (Fault.INVENTED_NAME, _invents_name),
    (Fault.WRONG_NUMBER, _states_other_number),
)
