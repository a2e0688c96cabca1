"""Faults of candidate greetings and what is taken off around them, on texts of our own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.settings import PROJECT_ROOT
from backend.generation.checks import LONGEST_GREETING, Fault, clean_greeting, find_fault
from backend.generation.request import parse_request
from tests.conftest import SHARED

GOOD = [
    ("给妈妈的生日祝福", "妈，生日快乐。厨房今天归我，您只管坐着等长寿面。"),
    ("祝朋友新婚", "新婚快乐！往后家里的遥控器归她，洗碗归你，白头偕老。"),
    ("祝王老师教师节快乐", "王老师，教师节快乐！您批过的作文本我还留着。"),
    ("给姓李的同事送别", "李哥，以后没人帮我占会议室了，一路顺风。"),
    ("四个字祝乔迁", "安居乐业"),
    ("四字祝福", "福星高照，万事顺遂。"),
    ("给岳母的四字祝福", "妈，福星高照，万事顺遂，笑口常开！"),
    ("66大寿", "恭贺您六六大寿，福如东海！"),
    ("99岁大寿祝福语", "祝您百岁寿星快乐，寿比南山！"),
    ("老婆40岁生日", "老婆，四十岁快乐，愿你永远十八岁，又满一岁又美一分。"),
    ("结婚三周年", "恭喜你们，恩爱又满一岁，往后的三十年也这样过。"),
    ("奶奶生日", "奶奶，祝您八十大寿福寿安康。"),
    ("八个字祝考试", "笔下生花，金榜题名！"),
    ("十个字以内的晚安", "晚安，好梦。"),
    ("搞笑生日祝福", "哈哈哈哈，又老一岁，蛋糕分我一半就原谅你。"),
    ("春节祝福", "愿你有酒有故事，愿你有梦有远方，愿你归来有家可回。"),
    ("给外教的生日祝福", "Tom老师，生日快乐！愿您在中国的每一天都新鲜。".replace("Tom", "")),
    ("写三条生日祝福", "1. 生日快乐\n2. 岁岁平安\n3. 天天开心"),
    ("a birthday wish", "Happy birthday to you, my dear friend."),
    ("向朋友道歉", "对不起，那天是我说重了，等你消气，我请你吃面。"),
    ("高考祝福", "高老师说过，稳住就赢。加油！"),
    ("金秋送客户", "金秋，愿您的订单像桂花一样多。"),
    ("给小朋友的六一祝福", "小朋友，六一快乐，今天的糖不限量！"),
    ("开业祝福", "祝总有客人在门口排队，祝收银台一直响。"),
    ("群发元旦", "元旦好！旧账一笔勾销，新年从一碗热汤开始🍜"),
    ("慰问住院的人", "你安心养着，花我替你浇，猫我替你喂。"),
]

BAD = [
    (Fault.EMPTY, "生日祝福", ""),
    (Fault.EMPTY, "生日祝福", "🎉🎉！"),
    (Fault.REFUSED, "生日祝福", "抱歉，我无法满足这个请求。"),
    (Fault.REFUSED, "生日祝福", "作为一个AI语言模型，我没有生日。"),
    (Fault.REFUSED, "生日祝福", "很遗憾，这个内容我不能提供帮助。"),
    (Fault.REFUSED, "生日祝福", "请提供更多信息，例如对方的年龄。"),
    (Fault.REFUSED, "生日祝福", "您想要什么样的祝福呢？"),
    (Fault.REFUSED, "a birthday wish", "I'm sorry, but I can't help with that."),
    (Fault.WRONG_LANGUAGE, "生日祝福", "Wishing you a wonderful birthday!"),
    (Fault.WRONG_LANGUAGE, "生日祝福", "お誕生日おめでとうございます、素敵な一年を。"),
    (Fault.WRONG_LANGUAGE, "马年祝福", "马到成功, wish you great success in everything you do"),
    (Fault.WRONG_LANGUAGE, "生日祝福", "생일 축하합니다, 행복하세요"),
    (Fault.REPEATS_PROMPT, "祝你生日快乐", "祝你生日快乐！"),
    (Fault.REPEATS_PROMPT, "祝你生日快乐", "生日快乐"),
    (Fault.REPEATS_PROMPT, "给外婆的生日祝福语", "给外婆的生日祝福语：外婆，长命百岁。"),
    (Fault.SEVERAL, "生日祝福", "1. 生日快乐，岁岁平安。\n2. 愿你天天开心。"),
    (Fault.SEVERAL, "生日祝福", "1、生日快乐。 2、岁岁平安。"),
    (Fault.SEVERAL, "生日祝福", "- 生日快乐\n- 岁岁平安"),
    (Fault.SEVERAL, "生日祝福", "版本一：生日快乐。版本二：岁岁平安。"),
    (Fault.PLACEHOLDER, "生日祝福", "亲爱的[名字]，生日快乐！"),
    (Fault.PLACEHOLDER, "生日祝福", "亲爱的XX，生日快乐！"),
    (Fault.PLACEHOLDER, "生日祝福", "祝【公司名】开业大吉，一路长红！"),
    (Fault.PLACEHOLDER, "祝寿", "某某先生福寿双全，松柏长青。"),
    (Fault.PLACEHOLDER, "祝寿", "____，祝您福寿双全，松柏长青。"),
    (Fault.WRONG_LENGTH, "四个字祝乔迁", "恭贺乔迁之喜"),
    (Fault.WRONG_LENGTH, "四个字祝乔迁", "安居乐业，万事如意"),
    (Fault.WRONG_LENGTH, "八个字祝考试", "金榜题名"),
    (Fault.WRONG_LENGTH, "十个字以内的晚安", "晚安，愿你今夜有一个香甜的好梦。"),
    (Fault.WRONG_LENGTH, "四字祝福", "福星高照，愿你万事顺遂。"),
    (Fault.INVENTED_NAME, "给老板拜年", "王总，新年好，祝您财源广进。"),
    (Fault.INVENTED_NAME, "给老师的祝福", "敬爱的张老师，教师节快乐！"),
    (Fault.INVENTED_NAME, "给朋友的生日祝福", "亲爱的小明，生日快乐！"),
    (Fault.INVENTED_NAME, "给朋友的生日祝福", "王晓雨，生日快乐，愿你天天开心。"),
    (Fault.INVENTED_NAME, "给朋友的生日祝福", "亲爱的Lily，生日快乐，愿你天天开心。"),
    (Fault.INVENTED_NAME, "给阿姨的祝福", "李阿姨，祝您身体健康。"),
    (Fault.REPETITIVE, "生日祝福", "像星辰般闪耀，像星辰般闪耀，像星辰般闪耀，像星辰般璀璨。"),
    (Fault.REPETITIVE, "生日祝福", "祝你快乐祝你快乐祝你快乐祝你快乐祝你快乐"),
    (Fault.REPETITIVE, "生日祝福", "快" * 60),
    (Fault.REPETITIVE, "生日祝福", "愿您天天有好胃口，顿顿有想吃的菜。愿您天天有好胃口，顿顿有想吃的菜！"),
    (Fault.WRONG_NUMBER, "奶奶八十大寿", "奶奶，祝您八十八岁生日快乐！"),
    (Fault.WRONG_NUMBER, "侄子6岁生日", "小帅哥，恭喜你满八岁啦！"),
    (Fault.WRONG_NUMBER, "爸妈结婚三十周年", "爸妈，二十周年快乐，愿你们恩爱如初。"),
    (Fault.GARBAGE, "生日祝福", "生日快\ufffd\ufffd乐"),
    (Fault.GARBAGE, "生日祝福", "锟斤拷锟斤拷生日快乐"),
    (Fault.GARBAGE, "生日祝福", "生日快乐<|im_end|><|im_start|>user"),
    (Fault.GARBAGE, "生日祝福", "ç”Ÿæ—¥å¿«ä¹"),
    (Fault.GARBAGE, "生日祝福", "生#@$%^&*()_+=~日"),
    (Fault.GARBAGE, "生日祝福", "<div>生日快乐</div>"),
    (Fault.TOO_LONG, "生日祝福", "".join(chr(0x4E00 + n) for n in range(LONGEST_GREETING + 1))),
    (Fault.CUT, "生日祝福", "生日快乐，愿你在新的一岁里，"),
    (Fault.CUT, "生日祝福", "生日快乐，我想对你说：“愿你"),
    (Fault.CUT, "生日祝福", "生日快乐（送给最好的你"),
    (Fault.CUT, "生日祝福", "愿你平安，愿你健康，因为"),
]

CLEANED = {
    "“生日快乐，岁岁平安。”": "生日快乐，岁岁平安。",
    '"生日快乐"': "生日快乐",
    "1. 生日快乐，岁岁平安。": "生日快乐，岁岁平安。",
    "好的，以下是为您写的生日祝福：\n\n生日快乐，岁岁平安。": "生日快乐，岁岁平安。",
    "当然可以！这是一条给妈妈的祝福：妈，生日快乐。": "妈，生日快乐。",
    "好的！\n生日快乐": "生日快乐",
    "助手：生日快乐": "生日快乐",
    "assistant: 生日快乐": "生日快乐",
    "```\n生日快乐\n```": "生日快乐",
    "祝福语：生日快乐": "生日快乐",
    "**生日快乐**，妈妈": "生日快乐，妈妈",
    "<think>要温馨一点</think>\n生日快乐": "生日快乐",
    "生日快乐<|im_end|>": "生日快乐",
    "生日快乐，妈妈。\n\n希望这条祝福您能喜欢！": "生日快乐，妈妈。",
    "生日快乐，妈妈。\n（共六个字，字数符合要求）": "生日快乐，妈妈。",
    "好的，这里是为你准备的一句话：\n“晚安，好梦。”": "晚安，好梦。",
    # left as they are
    "愿这一天为你捎去我的问候：像清风一样自在。": "愿这一天为你捎去我的问候：像清风一样自在。",
    "“你好”是开头，“再见”不是结尾": "“你好”是开头，“再见”不是结尾",
    "1. 生日快乐\n2. 岁岁平安": "1. 生日快乐\n2. 岁岁平安",
    "2025年快乐": "2025年快乐",
    "好的，以下是祝福：": "好的，以下是祝福：",
    "": "",
}


@pytest.mark.parametrize(("prompt", "text"), GOOD)
def test_good_greetings_have_no_fault(prompt: str, text: str) -> None:
    assert find_fault(parse_request(prompt), text) is None


@pytest.mark.parametrize(("fault", "prompt", "text"), BAD)
def test_bad_greetings_have_the_right_fault(fault: Fault, prompt: str, text: str) -> None:
    assert find_fault(parse_request(prompt), text) is fault


@pytest.mark.parametrize(("text", "expected"), CLEANED.items())
def test_what_stands_around_a_greeting_goes(text: str, expected: str) -> None:
    assert clean_greeting(text) == expected


def test_every_fault_has_a_sentence_in_both_languages_and_an_example() -> None:
    for fault in Fault:
        assert fault.message.en.endswith(".") and fault.message.zh.endswith("。")
    assert {fault for fault, _, _ in BAD} == set(Fault)


@given(st.text(max_size=300))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean_greeting(clean_greeting(text)) == clean_greeting(text)


@given(st.text(alphabet="“”\"'《》：:1.、好的以下是祝福\n*`<>|（）-", max_size=60))
def test_cleaning_twice_changes_nothing_more_on_awkward_texts(text: str) -> None:
    assert clean_greeting(clean_greeting(text)) == clean_greeting(text)


@given(st.text(max_size=100), st.text(max_size=300))
def test_checking_never_raises(prompt: str, text: str) -> None:
    assert find_fault(parse_request(prompt), text) in {None, *Fault}


def test_the_seed_corpus_has_no_fault() -> None:
    folder = PROJECT_ROOT / "data" / "seed"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.jsonl")]
    lines = [line for text in texts for line in text.splitlines()]
    rows = [json.loads(line) for line in lines]
    faults = [
        fault for row in rows if (fault := find_fault(parse_request(row["prompt"]), clean_greeting(row["strong"])))
    ]
    assert len(faults) <= 2 and all(clean_greeting(row["strong"]) == row["strong"] for row in rows)


@pytest.mark.data
def test_real_greetings_that_people_chose_hardly_ever_have_a_fault() -> None:
    path = SHARED / "sft_data.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = [find_fault(parse_request(row["instruction"]), clean_greeting(row["output"])) for row in rows]
    assert sum(fault is not None for fault in found) <= 0.005 * len(rows)
    assert sum(fault is Fault.INVENTED_NAME for fault in found) <= 0.001 * len(rows)
