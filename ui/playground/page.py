"""The write page: an empty root; `assets/playground.js` does the rest against the routes under /api/play."""

from backend.services import Services
from ui.components.judges import BASELINE_NAMES
from ui.components.language import Translator
from ui.components.widgets import html_block, script_root

EXAMPLES = (
    ("妈妈六十岁生日，她刚学会跳广场舞", "Mum turns sixty and has just taken up square dancing"),
    ("同事升职了，祝贺但别太正式", "A colleague was promoted; congratulate, not too formal"),
    ("中秋节给客户，八个字", "Mid-Autumn for a client, eight characters"),
    ("闺蜜新婚，要好笑一点，写三条", "My best friend's wedding, make it funny, three of them"),
    ("考研的弟弟，明天进考场，给他打气", "My brother sits his exam tomorrow, cheer him up"),
    ("给爷爷拜年，古风一点", "New Year greetings for grandpa, in classical style"),
)
OCCASIONS = (
    "生日",
    "春节",
    "中秋节",
    "婚礼",
    "升职",
    "乔迁",
    "考试",
    "教师节",
    "早安",
    "探病",
    "感谢",
    "退休",
)
RECIPIENTS = ("妈妈", "爸爸", "奶奶", "爷爷", "老师", "朋友", "同事", "领导", "客户", "爱人", "孩子", "自己")
STYLES = (
    ("温情", "warm"),
    ("幽默", "funny"),
    ("口语", "everyday"),
    ("正式", "formal"),
    ("文艺", "literary"),
    ("古风", "classical"),
)


def build_page(services: Services, translate: Translator) -> None:  # noqa: ARG001
    """Ask → cards → like, change, judge."""
    page_words = {
        # Requests are Chinese in both languages: greetings are, and so is what the models learnt from.
        "examples": [{"text": zh, "label": translate(zh, en)} for zh, en in EXAMPLES],
        "occasions": OCCASIONS,
        "recipients": RECIPIENTS,
        "styles": [[zh, translate(zh, en)] for zh, en in STYLES],
        # The baselines alone need a translation: other judges bear the name their maker gave them.
        "judges": {judge_name: translate(*bilingual_name) for judge_name, bilingual_name in BASELINE_NAMES.items()},
    }
    html_block(script_root("zf-play", translate, page_words), elem_id="zf-play-page")
