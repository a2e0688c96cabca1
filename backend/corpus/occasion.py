"""The occasion of a prompt that came without a tag, by key words: enough to group by, never a label."""

import re

# Ordered: the first that matches wins, so the specific ones stand before the general ones.
_OCCASION_RULES: tuple[tuple[str, str], ...] = (
    ("除夕", "除夕|年夜饭|守岁"),
    # The eve and the lantern feast stand before 春节, since requests for them name 新年 or 过年 as well.
    ("元宵节", "元宵|正月十五"),
    ("春节", "春节|新年|过年|拜年|大年|新春|年初|[鼠牛虎兔龙蛇马羊猴鸡狗猪]年"),
    ("元旦", "元旦|跨年"),
    ("端午节", "端午"),
    ("中秋节", "中秋|月饼"),
    ("国庆节", "国庆|十一黄金周"),
    ("七夕", "七夕"),
    ("情人节", "情人节|520|五二零"),
    ("母亲节", "母亲节|妈妈节"),
    ("父亲节", "父亲节"),
    ("教师节", "教师节"),
    ("护士节", "护士节"),
    ("儿童节", "儿童节|六一"),
    ("妇女节", "妇女节|三八|女神节"),
    ("重阳节", "重阳"),
    ("劳动节", "劳动节|五一"),
    ("圣诞节", "圣诞|平安夜"),
    ("冬至", "冬至"),
    ("立春", "立春"),
    # Before 婚礼, whose 结婚 is in every wedding anniversary.
    ("结婚纪念日", "结婚纪念|周年纪念|结婚.{0,3}周年|[银金]婚"),
    ("订婚", "订婚|定亲"),
    ("婚礼", "结婚|新婚|婚礼|大婚|领证|嫁|新娘|新郎|喜酒"),
    ("满月", "满月"),
    ("百天", "百天|百日宴"),
    # Before 生日, whose 岁 it holds.
    ("周岁", "周岁|抓周"),
    ("怀孕", "怀孕|孕妇|备孕"),
    ("出生", "出生|生子|宝宝降生|喜得|添丁|生[了的]?[儿女男]|产妇|产后"),
    ("生日", "生日|寿|岁|生辰|诞辰"),
    ("高考", "高考"),
    ("考研", "考研|研究生考"),
    ("考试", "考试|中考|期末|考公|驾照|金榜"),
    ("升学", "升学|录取|考上|谢师"),
    ("毕业", "毕业"),
    ("开学", "开学"),
    ("面试", "面试"),
    ("入职", "入职|新工作"),
    ("升职", "升职|晋升|高升|升迁"),
    ("退休", "退休"),
    ("离职", "离职|辞职"),
    ("开业", "开业|开张|生意|店"),
    ("乔迁", "乔迁|搬家|新房|新居|入伙|上梁"),
    ("新车", "新车|提车"),
    ("参军", "参军|当兵|入伍"),
    ("出国", "出国|留学"),
    ("手术", "手术"),
    ("探病", "病|住院"),
    ("康复", "康复|出院"),
    ("慰问", "去世|节哀|悼|慰问"),
    ("送别", "送别|离别|告别"),
    # 平安 alone means a journey; 平安夜 has matched above.
    ("旅途", "旅途|旅行|一路|平安"),
    ("感谢", "感谢|谢谢|答谢"),
    ("道歉", "道歉|对不起"),
    ("早安", "早安|早上好|早晨|清晨"),
    ("晚安", "晚安|晚上好"),
    ("周末", "周末|周[一二三四五六日]"),
    ("加油", "加油|鼓励|励志"),
)
_OCCASION_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _OCCASION_RULES)


def detect_occasion(prompt_text: str) -> str | None:
    """The occasion the prompt names, None where no key word fits."""
    return next(
        (occasion_name for occasion_name, word_pattern in _OCCASION_PATTERNS if word_pattern.search(prompt_text)),
        None,
    )
