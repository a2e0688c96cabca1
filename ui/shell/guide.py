"""Three steps for each page: open at the first visit where a role begins, behind the “?” elsewhere."""

import re
from dataclasses import dataclass

from markupsafe import Markup

from ui.components.language import BilingualText, Translator
from ui.components.templates import render
from ui.shell.documents import has_page

_LINK_PATTERN = re.compile(r"\[([^\]]+)\]\((\w+)\)")


@dataclass(frozen=True)
class PageGuide:
    """What to do on a page, in both languages; a step may link to another page as `[words](path)`.

    opens_itself: it is open until the reader has closed it once; the browser remembers that.
    """

    heading: BilingualText
    steps: tuple[BilingualText, BilingualText, BilingualText]
    opens_itself: bool = False


PAGE_GUIDES: dict[str, PageGuide] = {
    "write": PageGuide(
        ("第一次来？三步拿到一条祝福", "New here? A greeting in three steps"),
        (
            ("说说给谁、什么场合，或者点一个例子。", "Say for whom and when, or press an example."),
            (
                "看几条写好的祝福，不满意就换：更短、更暖、更有趣，或再来一条。",
                "Read a few greetings; ask for shorter, warmer, funnier, or another one.",
            ),
            (
                "喜欢就复制走。点个赞或踩，我们就知道哪条写得好。",
                "Copy the one you like. A like or dislike tells us which is well written.",
            ),
        ),
        opens_itself=True,
    ),
    "annotate": PageGuide(
        ("第一次标注？三步就会", "New to annotating? Three steps"),
        (
            ("写下名字，选一个任务。", "Give your name and choose a campaign."),
            (
                "读两条祝福，凭感觉选更好的：点按钮，或按 ← →；都好按 ↑，都不好按 ↓。",
                "Read two greetings and choose the better one: press its button, or ← →; ↑ both good, ↓ both bad.",
            ),
            (
                "按错了按 Z 撤销。每一条都会立刻保存，关掉页面，下次接着标。",
                "Z takes a slip back. Every answer is saved at once; close the page and go on another day.",
            ),
        ),
        opens_itself=True,
    ),
    "agreement": PageGuide(
        ("第一次做研究？三步看清一个裁判", "New to research here? Three steps to know a judge"),
        (
            (
                "先有人的看法：在[语料](corpus)导入带标签的祝福，或在[任务](campaigns)里请人标注。",
                "First, people's view: import labelled greetings under [Corpus](corpus), or ask raters by a "
                "[campaign](campaigns).",
            ),
            (
                "到[裁判](judges)接一个模型、写下原则，让它评同一批祝福。",
                "Under [Judges](judges) connect a model, write principles, let it score the same greetings.",
            ),
            (
                "回到这里选人工参照：它赢过字数、表面特征、n-gram 三条基线，才值得信。",
                "Come back and choose the reference: trust a judge that beats length, style and n-gram.",
            ),
        ),
        opens_itself=True,
    ),
    "campaigns": PageGuide(
        ("请人标注，三步", "Ask people, in three steps"),
        (
            (
                "给任务起名，选数据，定多少题、每题几个人。",
                "Name the campaign, choose data, how many items, how many raters an item.",
            ),
            (
                "把[标注](annotate)页的网址发给标注者，他们写下名字就能开始。",
                "Send raters the address of the [Annotate](annotate) page; a name is all they need.",
            ),
            (
                "标完到[一致性](agreement)看结果，或在[语料](corpus)里导出。",
                "See the result under [Agreement](agreement), or export it under [Corpus](corpus).",
            ),
        ),
    ),
    "corpus": PageGuide(
        ("带来自己的数据，三步", "Bring your data, in three steps"),
        (
            (
                "在“导入”里放一个文件，先看它认成了什么、前几行对不对。",
                "Drop a file under Import and see what it was recognised as.",
            ),
            (
                "点“导入”。坏行会给出行号和原因；同一份文件导两次也不会重复。",
                "Press Import. Bad rows come with line and reason; the same file twice adds nothing.",
            ),
            (
                "要拿出去，用“导出”：TRL、ShareGPT、CSV 或 Parquet，同一请求不会跨训练集和测试集。",
                "Take data out under Export: TRL, ShareGPT, CSV or Parquet; no prompt is in two splits.",
            ),
        ),
    ),
    "judges": PageGuide(
        ("做一个裁判，三步", "Make a judge, in three steps"),
        (
            (
                "在“模型端点”里接一个模型：云端的、Ollama、vLLM 都可以。",
                "Connect a model under Endpoints: a cloud, Ollama, vLLM.",
            ),
            (
                "在“新建与试用”里写下原则，拿几条祝福试一试，再保存。",
                "Write principles under Make and try, try them on a few greetings, save.",
            ),
            (
                "在“评判任务”里让它评一个数据集，再到[一致性](agreement)看它和人差多远。",
                "Let it score a data set under Scoring runs; [Agreement](agreement) says how close to people it is.",
            ),
        ),
    ),
    "principles": PageGuide(
        ("让裁判学会不上当，三步", "A judge that learns from being fooled, in three steps"),
        (
            (
                "选一个有好坏标签的数据集和一个模型，开始一局。",
                "Choose a data set with labels and a model, and start a game.",
            ),
            (
                "看每一轮：谁骗过了谁，提出了什么新原则，为什么采纳或拒绝。",
                "Watch the rounds: who fooled whom, which rule was proposed, why it was kept or refused.",
            ),
            (
                "把通过检验的版本发布成[裁判](judges)，再到[一致性](agreement)看它和人差多远。",
                "Publish a version that passed as a [judge](judges); see under "
                "[Agreement](agreement) how close to people it is.",
            ),
        ),
    ),
    "pairs": PageGuide(
        ("从请求到偏好对，三步", "From requests to preference pairs, in three steps"),
        (
            (
                "选请求、写作的模型和评判的裁判，先看估算，再开始。",
                "Choose requests, models that write and the judge; read the estimate, then start.",
            ),
            (
                "看漏斗：每一步留下多少、丢了多少、为什么。",
                "Read the funnel: what each stage kept, what it lost, and why.",
            ),
            (
                "打开一场评议，认可、对调或丢弃；再导出，或去[训练](training)奖励模型。",
                "Open a debate, accept, flip or discard; then export, or [train](training) a reward model.",
            ),
        ),
    ),
    "training": PageGuide(
        ("训练一个写祝福的模型，三步", "Train a writer, in three steps"),
        (
            (
                "没有显卡：点“训练入门模型”。有显卡：到“新训练”选一个预设。",
                "Without a GPU press Train the starter; with one choose a preset under New training.",
            ),
            (
                "在“任务”里看曲线和样例；关掉页面也照样跑，可以暂停、取消、接着跑。",
                "Watch curves and samples under Jobs; it runs on without the page; pause, cancel, resume.",
            ),
            (
                "训练完就能到[写祝福](write)里试；所有成果都列在“成果”里。",
                "Try it under [Write](write) when it is done; Results lists all that came out.",
            ),
        ),
    ),
}


def guide_html(translate: Translator, page_path: str) -> Markup:
    """The guide of a page, shown and hidden by style sheet and `assets/shell.js`; empty where it has none."""
    page_guide = PAGE_GUIDES.get(page_path)
    if page_guide is None:
        return Markup()
    return render(
        "shell/templates/guide.html",
        translate=translate,
        guide=page_guide,
        page_path=page_path,
        is_documented=has_page(translate.lang, page_path),
        steps=[_split_links(translate(*guide_step)) for guide_step in page_guide.steps],
    )


def guide_button(translate: Translator, page_path: str) -> Markup:
    """The “?” that opens and closes the guide of a page."""
    if page_path not in PAGE_GUIDES:
        return Markup()
    return render("shell/templates/guide_button.html", translate=translate)


def _split_links(step_text: str) -> list[tuple[str, str]]:
    """The pieces of a step in their order, each with the page that it links to, or with an empty path."""
    step_pieces, end_of_last = [], 0
    for link_match in _LINK_PATTERN.finditer(step_text):
        step_pieces += [(step_text[end_of_last : link_match.start()], ""), (link_match[1], link_match[2])]
        end_of_last = link_match.end()
    return [*step_pieces, (step_text[end_of_last:], "")]
