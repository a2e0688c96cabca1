"""Names of programs, presets, settings, curves and states on the training page, in both languages."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import ACTIVE, ArtifactKind
from backend.training_runs.service import SERVE
from ui.job_words import STATUS
from ui.say import Say

Words = tuple[str, str]

PROGRAMS: dict[str, Words] = {
    "sft": ("监督微调 SFT", "SFT"),
    "reward_model": ("奖励模型", "Reward model"),
    "grpo": ("强化学习 GRPO", "GRPO"),
    "serve": ("模型服务", "Serving"),
}
LEADS: dict[str, Words] = {
    "sft": (
        "让模型学着写：给它看被人选中的祝福。",
        "Teach a model to write, by the greetings that people accepted.",
    ),
    "reward_model": (
        "让模型学着评：给它看成对的好与差，给出一个分数。",
        "Teach a model to judge: from pairs of better and worse to one score.",
    ),
    "grpo": (
        "让写作模型朝着奖励改进，同时盯着它有没有变长、变重复、答非所问。",
        "Improve a writer by a reward, while a monitor watches for length, repetition and drift.",
    ),
}
PRESETS: dict[str, Words] = {
    "starter_cpu": ("不用显卡", "No GPU"),
    "starter": ("入门模型", "Starter model"),
    "one_small_gpu": ("一张小显卡", "One small GPU"),
    "one_big_gpu": ("一张大显卡", "One big GPU"),
    "published": ("论文设置", "As published"),
}
MACHINES: dict[str, Words] = {
    "starter_cpu": (
        "为没有显卡的机器准备：一两百万参数的小模型，两核电脑几分钟。",
        "For machines without a GPU: a model of one or two million parameters, minutes on two cores.",
    ),
    "starter": (
        "一键训练用的设置：加上入门写作语料，两核电脑约六分钟。",
        "What the one click uses: with the starter's writing corpus, about six minutes on two cores.",
    ),
    "one_small_gpu": ("适合一张 12–24 GB 的显卡，用 LoRA。", "For one GPU of 12 to 24 GB, with LoRA."),
    "one_big_gpu": ("适合一张 40–80 GB 的显卡，用 LoRA。", "For one GPU of 40 to 80 GB, with LoRA."),
    "published": (
        "论文中的设置，论文没写明的取相近的值；需要大显卡，GRPO 要 4 张。",
        "The published settings, near values where the paper is silent; big GPUs, four of them for GRPO.",
    ),
}
ARTIFACTS: dict[ArtifactKind, Words] = {
    ArtifactKind.POLICY: ("写作模型", "Policy"),
    ArtifactKind.REWARD_MODEL: ("奖励模型", "Reward model"),
    ArtifactKind.CHECKPOINT: ("检查点", "Checkpoint"),
    ArtifactKind.JUDGE: ("裁判", "Judge"),
    ArtifactKind.DATASET_SNAPSHOT: ("数据快照", "Data snapshot"),
}
REWARDS: dict[str, Words] = {
    "reward_model": ("训练好的奖励模型", "Trained reward model"),
    "principle": ("按原则评判", "Principles"),
    "rubric": ("五个方面打分", "Rubric"),
    "panel": ("多方评议", "Panel"),
    "ngram": ("字符 n-gram 基线", "Char n-gram baseline"),
}
ACTIONS: dict[str, Words] = {
    "stop": ("提醒并停止", "Warn and stop"),
    "warn": ("只提醒", "Warn only"),
    "off": ("关闭", "Off"),
}
_BILINGUAL = re.compile(
    r"^(?P<zh>[^|,]*) \| (?P<en>[^|,]*), step (?P<step>\d+): (?P<zh_why>.*) \| (?P<en_why>.*)$"
)
_UNSCORED = re.compile(r"^unscored by (?P<by>.+?): (?P<why>.*)$")
_LEFT = re.compile(r"^(\d+ / \d+), (.+) left$")


@dataclass(frozen=True)
class Curve:
    """One plot: what it shows, and under which names the programs report it."""

    key: str
    name: Words
    series: dict[str, Words]
    share: bool = False


CURVES = (
    Curve("loss", ("损失", "Loss"), {"loss": ("训练", "training"), "eval_loss": ("验证", "validation")}),
    Curve(
        "accuracy",
        ("偏好对准确率", "Pair accuracy"),
        {"accuracy": ("训练", "training"), "eval_accuracy": ("验证", "validation")},
        share=True,
    ),
    Curve(
        "reward",
        ("奖励：均值与离散", "Reward: mean and spread"),
        {
            "reward": ("均值", "mean"),
            "reward_std": ("标准差", "spread"),
            "mean_reward": ("均值", "mean"),
            "margin": ("好差之差", "margin"),
        },
    ),
    Curve(
        "gold",
        ("旁观裁判（奖励不用它）", "Gold judge (never the reward)"),
        {"gold_excellence": ("优秀率", "excellent"), "gold_unscored": ("未评率", "unscored")},
        share=True,
    ),
    Curve("kl", ("与起点的 KL", "KL to the start"), {"kl": ("KL", "KL")}),
    Curve(
        "length",
        ("长度", "Length"),
        {
            "held_out/length": ("字数（留出）", "characters (held out)"),
            "completions/mean_length": ("token（训练）", "tokens (training)"),
        },
    ),
    Curve(
        "diversity",
        ("多样与切题（留出）", "Diversity and fit (held out)"),
        {
            "held_out/distinct_2": ("distinct-2", "distinct-2"),
            "held_out/distinct_2_equal": ("distinct-2（等量文本）", "distinct-2, equal text"),
            "held_out/self_bleu_4": ("self-BLEU-4", "self-BLEU-4"),
            "held_out/repetition": ("重复", "repetition"),
            "held_out/fit": ("切题", "fit"),
        },
        share=True,
    ),
    Curve(
        "shares",
        ("零方差与未评的占比", "Zero-variance and unscored share"),
        {"frac_reward_zero_std": ("零方差组", "zero variance"), "unscored": ("未评", "unscored")},
        share=True,
    ),
)
METRICS: dict[str, Words] = {
    "steps": ("步数", "steps"),
    "train_seconds": ("训练秒数", "seconds of training"),
    "train_loss": ("训练损失", "training loss"),
    "eval_loss": ("验证损失", "validation loss"),
    "all_accuracy": ("准确率（留出）", "accuracy (held out)"),
    "length_matched_accuracy": ("等长准确率", "length-matched accuracy"),
    "rejected_longer_accuracy": ("差的更长时准确率", "accuracy, rejected longer"),
    "composed_accuracy": ("组合对准确率", "accuracy on composed pairs"),
    "ngram_all_accuracy": ("n-gram 基线准确率", "accuracy of n-gram"),
    "ngram_length_matched_accuracy": ("n-gram 等长准确率", "n-gram, length-matched"),
    "gold_excellence": ("旁观优秀率", "gold excellent"),
    "gold_unscored": ("旁观未评率", "gold unscored"),
    "held_out/length": ("平均字数", "mean characters"),
    "held_out/distinct_2": ("distinct-2", "distinct-2"),
    "held_out/self_bleu_4": ("self-BLEU-4", "self-BLEU-4"),
    "held_out/repetition": ("重复", "repetition"),
    "held_out/fit": ("切题", "fit to the request"),
    "best_step": ("保留的是第几步", "step that is kept"),
}
"""The figures of a result that are shown; all of them stand in its model card."""


def program(say: Say, kind: str) -> str:
    """What a kind of job is called."""
    return say(*PROGRAMS[kind]) if kind in PROGRAMS else kind


def label(say: Say, job: JobInfo) -> str:
    """A job in a list of choices."""
    return f"{job.id} · {title_of(say, job)} · {say(*STATUS[job.status])}"


def title_of(say: Say, job: JobInfo) -> str:
    """A job's kind with the name its model will have, or the artifact it serves."""
    name = job.config.get("name") or (job.config.get("artifact") if job.kind == SERVE else None)
    return f"{program(say, job.kind)} · {name}" if name else program(say, job.kind)


def progress_words(say: Say, job: JobInfo) -> str:
    """The program's short line, in the reader's language; addresses and times left only while it runs."""
    text = job.progress_text
    if job.kind == SERVE and job.status not in ACTIVE:
        return say("服务已停止", "service stopped") if text and job.ended else ""
    if found := _LEFT.match(text):
        if job.status not in ACTIVE:
            return found[1]
        return f"{found[1]} · {say(f'约剩 {_span_zh(found[2])}', f'about {found[2]} left')}"
    known = {"done": ("已完成", "done"), "starting": ("正在启动", "starting")}
    return say(*known[text]) if text in known else either(say, text)


def either(say: Say, text: str) -> str:
    """The reader's half of “中文 | English”, as the programs write it; else the text as it is."""
    if found := _BILINGUAL.match(text):
        zh = f"{found['zh']}，第 {found['step']} 步：{found['zh_why']}"
        return say(zh, f"{found['en']}, step {found['step']}: {found['en_why']}")
    if found := _UNSCORED.match(text):
        return say(f"“{found['by']}”没给出评判：{found['why']}", text)
    zh, bar, en = text.partition(" | ")
    return say(zh, en) if bar and " | " not in en else text


def moment(at: datetime | None) -> str:
    """A time of day as the machine's clock shows it."""
    return f"{at.astimezone():%m-%d %H:%M}" if at else "–"


def span(say: Say, length: timedelta) -> str:
    """How long something took."""
    minutes, seconds = divmod(max(0, round(length.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return say(f"{hours} 小时 {minutes} 分", f"{hours} h {minutes} min")
    return say(f"{minutes} 分 {seconds} 秒", f"{minutes} min {seconds} s")


def short(value: object) -> str:
    """A figure in at most four digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _span_zh(text: str) -> str:
    for en, zh in ((" h", " 小时"), (" min", " 分"), (" s", " 秒")):
        text = text.replace(en, zh)
    return text
