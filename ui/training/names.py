"""Names of programs, presets, settings, curves and states on the training page, in both languages."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.enums import ACTIVE_STATUSES, ArtifactKind
from backend.generation.serving import SERVE_KIND
from backend.jobs.records import JobInfo
from backend.training.exporting import EXPORT_KIND
from backend.training.messages import TRAINING_STEP
from ui.components.jobs import STATUS_NAMES
from ui.components.language import BilingualText, Translator

PROGRAM_NAMES: dict[str, BilingualText] = {
    "sft": ("监督微调 SFT", "SFT"),
    "reward_model": ("奖励模型", "Reward model"),
    "dpo": ("偏好优化 DPO", "DPO"),
    "grpo": ("强化学习 GRPO", "GRPO"),
    "serve": ("模型服务", "Serving"),
    "export": ("模型导出", "Export"),
}
PROGRAM_LEADS: dict[str, BilingualText] = {
    "sft": (
        "让模型学着写：给它看被人选中的祝福。",
        "Teach a model to write, by the greetings that people accepted.",
    ),
    "reward_model": (
        "让模型学着评：给它看成对的好与差，给出一个分数。",
        "Teach a model to judge: from pairs of better and worse to one score.",
    ),
    "dpo": (
        "让写作模型直接从成对的好与差里学：不用奖励模型，也不调用裁判，一张显卡就够。",
        "Improve a writer by pairs of better and worse directly: no reward model, no judge to pay, one GPU.",
    ),
    "grpo": (
        "让写作模型朝着奖励改进，同时盯着它有没有变长、变重复、答非所问。",
        "Improve a writer by a reward, while a monitor watches for length, repetition and drift.",
    ),
}
PRESET_NAMES: dict[str, BilingualText] = {
    "starter": ("不用显卡（入门模型）", "No GPU (starter model)"),
    "one_small_gpu": ("一张小显卡", "One small GPU"),
    "one_big_gpu": ("一张大显卡", "One big GPU"),
    "four_gpus": ("四张大显卡", "Four big GPUs"),
    "published": ("论文设置", "As published"),
}
PRESET_MACHINES: dict[str, BilingualText] = {
    "starter": (
        "为没有显卡的机器准备：一两百万参数的小模型，加上入门写作语料（可去掉），两核电脑几分钟。",
        "For machines without a GPU: a model of one or two million parameters, with the starter's writing corpus "
        "(which can be unticked), minutes on two cores.",
    ),
    "one_small_gpu": ("适合一张 12–24 GB 的显卡，用 LoRA。", "For one GPU of 12 to 24 GB, with LoRA."),
    "one_big_gpu": ("适合一张 40–80 GB 的显卡，用 LoRA。", "For one GPU of 40 to 80 GB, with LoRA."),
    "four_gpus": (
        "适合同一台机器上的四张 40–80 GB 显卡，用 LoRA。",
        "For four GPUs of 40 to 80 GB in one machine, with LoRA.",
    ),
    "published": (
        "论文中的设置，论文没写明的取相近的值；需要大显卡，GRPO 要 4 张。",
        "The published settings, near values where the paper is silent; big GPUs, four of them for GRPO.",
    ),
}
ARTIFACT_NAMES: dict[ArtifactKind, BilingualText] = {
    ArtifactKind.POLICY: ("写作模型", "Policy"),
    ArtifactKind.REWARD_MODEL: ("奖励模型", "Reward model"),
    ArtifactKind.CHECKPOINT: ("检查点", "Checkpoint"),
    ArtifactKind.JUDGE: ("裁判", "Judge"),
    ArtifactKind.DATASET_SNAPSHOT: ("数据快照", "Data snapshot"),
}
REWARD_NAMES: dict[str, BilingualText] = {
    "reward_model": ("训练好的奖励模型", "Trained reward model"),
    "principle": ("按原则评判", "Principles"),
    "rubric": ("五个方面打分", "Rubric"),
    "panel": ("多方评议", "Panel"),
    "ranking": ("整组排序", "Ranking of the group"),
    "ngram": ("字符 n-gram 基线", "Char n-gram baseline"),
}
ACTION_NAMES: dict[str, BilingualText] = {
    "stop": ("提醒并停止", "Warn and stop"),
    "warn": ("只提醒", "Warn only"),
    "off": ("关闭", "Off"),
}


@dataclass(frozen=True)
class Curve:
    """One plot: what it shows, and under which names the programs report it."""

    plot_key: str
    bilingual_title: BilingualText
    series_names: dict[str, BilingualText]
    is_share: bool = False


# Excellence never stands alone: a policy that writes one phrase over and over can please a judge to the full,
# and only length, diversity and fit show it.
PLOT_CURVES = (
    Curve("loss", ("损失", "Loss"), {"loss": ("训练", "training"), "eval_loss": ("验证", "validation")}),
    Curve(
        "accuracy",
        ("偏好对准确率", "Pair accuracy"),
        {"accuracy": ("训练", "training"), "eval_accuracy": ("验证", "validation")},
        is_share=True,
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
        "likelihood",
        ("对数似然（DPO）", "Log-likelihood (DPO)"),
        {"logps/chosen": ("好的", "chosen"), "logps/rejected": ("差的", "rejected")},
    ),
    Curve(
        "gold",
        ("旁观裁判（奖励不用它）", "Gold judge (never the reward)"),
        {
            "gold_excellence": ("优秀率", "excellent"),
            "gold_unscored": ("未评率", "unscored"),
            "gold_fluent": ("通顺", "fluent"),
            "gold_fit": ("切题（扣除巧合）", "fit beyond chance"),
            "gold_unseen": ("没见过的字对", "unseen character pairs"),
        },
        is_share=True,
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
        is_share=True,
    ),
    Curve(
        "shares",
        ("零方差与未评的占比", "Zero-variance and unscored share"),
        {
            "frac_reward_zero_std": ("零方差组", "zero variance"),
            "unscored": ("未评", "unscored"),
            "ranking/flips": ("正反次序相反的对", "pairs that flip with the order"),
        },
        is_share=True,
    ),
    Curve(
        "groups",
        ("每轮的零方差组：换掉与剩下", "Groups without variance: replaced and left"),
        {"resampled_groups": ("换掉", "replaced"), "groups_without_variance": ("剩下", "left")},
    ),
)
# The figures of a result that are shown; all of them stand in its model card.
METRIC_NAMES: dict[str, BilingualText] = {
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


def program_title(translate: Translator, job_kind: str) -> str:
    """What a kind of job is called."""
    return translate(*PROGRAM_NAMES[job_kind]) if job_kind in PROGRAM_NAMES else job_kind


def job_label(translate: Translator, job: JobInfo) -> str:
    """A job in a list of choices."""
    return f"{job.id} · {job_title(translate, job)} · {translate(*STATUS_NAMES[job.status])}"


def job_title(translate: Translator, training_job: JobInfo) -> str:
    """A job's kind with the name its model will have, or the artifact it serves."""
    model_name = training_job.config.get("name") or (
        training_job.config.get("artifact") if training_job.kind in (SERVE_KIND, EXPORT_KIND) else None
    )
    return (
        f"{program_title(translate, training_job.kind)} · {model_name}"
        if model_name
        else program_title(translate, training_job.kind)
    )


def progress_line(translate: Translator, training_job: JobInfo) -> str:
    """What the program reported last, in the reader's language; addresses and times left only while it runs."""
    message, is_active = training_job.progress_message, training_job.status in ACTIVE_STATUSES
    if training_job.kind == SERVE_KIND and not is_active:
        # The address of a service that has ended leads nowhere, or to what listens there now.
        return translate("服务已停止", "service stopped") if message.en and training_job.ended else ""
    if message.code != TRAINING_STEP.code:
        return translate.localize(message)
    values = message.values
    steps_done = f"{values['step']} / {values['total']}"
    time_left = translate(f"约剩 {values['left_zh']}", f"about {values['left_en']} left")
    return f"{steps_done} · {time_left}" if is_active else steps_done


def clock_time(timestamp: datetime | None) -> str:
    """A time of day as the machine's clock shows it."""
    return f"{timestamp.astimezone():%m-%d %H:%M}" if timestamp else "–"


def duration_text(translate: Translator, duration: timedelta) -> str:
    """How long something took."""
    minutes, seconds = divmod(max(0, round(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return translate(f"{hours} 小时 {minutes} 分", f"{hours} h {minutes} min")
    return translate(f"{minutes} 分 {seconds} 秒", f"{minutes} min {seconds} s")


def short_figure(figure_value: object) -> str:
    """A figure in at most four digits."""
    if isinstance(figure_value, bool) or not isinstance(figure_value, int | float):
        return "–" if figure_value is None else str(figure_value)
    return f"{figure_value:,}" if isinstance(figure_value, int) else f"{figure_value:.4g}"
