"""Every message that training programs report, by the code under which it is stored."""

from backend.core.enums import EventLevel
from backend.core.errors import Message
from backend.jobs.messages import JobMessage, MessageTemplate

DATA_OPENED = MessageTemplate(
    "data_opened",
    "data {hash}: {rows}; dropped: {dropped_en}",
    "数据 {hash}：{rows}；未用：{dropped_zh}",
)
MEMORY_ESTIMATE = MessageTemplate(
    "memory_estimate",
    "memory: about {needed:.2f} of {available:.0f} GB by estimate, highest at the {phase} ({parts})",
    "显存：估计约 {needed:.2f} GB（共 {available:.0f} GB），最高时在 {phase}（{parts}）",
)
MEMORY_UNKNOWN = MessageTemplate(
    "memory_unknown",
    "memory: cannot tell before “{base}” is loaded",
    "显存：加载“{base}”之前无法估计",
)
MEMORY_SHORT = MessageTemplate(
    "memory_short",
    "warning: {reason_en} Started all the same, as asked.",
    "警告：{reason_zh}已按要求照常开始。",
    EventLevel.WARNING,
)
RESUMED = MessageTemplate("resumed", "going on from {checkpoint}", "从 {checkpoint} 继续")
CHECKPOINTS_TORN = MessageTemplate(
    "checkpoints_torn",
    "{torn} was not written to its end and is removed; going on from {place_en}",
    "{torn} 没有写完，已删除；从 {place_zh} 继续",
    EventLevel.WARNING,
)
ARTIFACT_STORED = MessageTemplate("artifact_stored", "artifact: {folder}", "产物：{folder}")
STARTER_BUILT = MessageTemplate(
    "starter_built",
    "starter: {parameters_million:.2f} M parameters, {tokens} tokens of vocabulary",
    "入门模型：{parameters_million:.2f} M 参数，词表 {tokens} 个词元",
)
FEW_GREETINGS = MessageTemplate(
    "few_greetings",
    "warning: {greetings} greetings of {characters} characters teach a model from scratch to repeat them; "
    "import more (at least {needed} characters) or choose a trained base.",
    "警告：{greetings} 条祝福共 {characters} 字，从零训练只会背诵，学不会写；"
    "请导入更多（至少 {needed} 字），或选一个训练好的模型作起点。",
    EventLevel.WARNING,
)
HELD_OUT_ACCURACY = MessageTemplate(
    "held_out_accuracy",
    "{split} {figure}: {accuracy:.3f} on {pairs} pairs",
    "{split} {figure}：{accuracy:.3f}（{pairs} 对）",
)
PAIRS_CHOSEN = MessageTemplate(
    "pairs_chosen",
    "pairs: {chosen} of {pairs} have at most {tokens} tokens, request included",
    "偏好对：{pairs} 对中有 {chosen} 对（含请求）不超过 {tokens} 个词元",
)
REQUESTS_CHOSEN = MessageTemplate(
    "requests_chosen",
    "requests: {chosen} of {requests} have at most {tokens} tokens",
    "请求：{requests} 条中有 {chosen} 条不超过 {tokens} 个词元",
)
ROWS_LEFT_OUT = MessageTemplate(
    "rows_left_out",
    "{split}: {left_out} of {total} {kind_en} are left out: {reasons_en}",
    "{split}：{total} {kind_zh}中有 {left_out} 个未用：{reasons_zh}",
    EventLevel.WARNING,
)
TEMPLATE_DIFFERS = MessageTemplate(
    "template_differs",
    "warning: the chat template writes “{opening}” before an answer, but not before the greetings to learn from; "
    "the model learns in another context than it answers in",
    "警告：对话模板会在回答前写入“{opening}”，而训练用的祝福前面没有；模型学习时与回答时的上下文不同",
    EventLevel.WARNING,
)

MERGING = MessageTemplate("merging", "merging the adapter into its base", "正在把适配器合并进底座模型")
STARTING = MessageTemplate("starting", "starting", "正在启动")
DONE = MessageTemplate("done", "done", "已完成")
TRAINING_STEP = MessageTemplate("training_step", "{step} / {total}, {left_en} left", "{step} / {total}，约剩 {left_zh}")

# Of trainings from before the monitor could read a sharded model.
MONITOR_OFF = MessageTemplate(
    "monitor_off",
    "monitor off: the model is sharded",
    "监测已关闭：模型分散在多个设备上",
    EventLevel.WARNING,
)
GOLD_OFF = MessageTemplate(
    "gold_off",
    "gold judge off: {greetings} accepted greetings are too few to learn what a greeting is like; accept more",
    "旁观裁判已关闭：合格的祝福语只有 {greetings} 条，不足以学会祝福语该是什么样子，请增加",
    EventLevel.WARNING,
)
GOLD_UNSURE = MessageTemplate(
    "gold_unsure",
    "step {step}: gold cannot tell how good the greetings are: {reason_en}",
    "第 {step} 步：旁观裁判无法判断祝福语的好坏：{reason_zh}",
    EventLevel.WARNING,
)
COLLAPSE_WARNING = MessageTemplate(
    "collapse_warning",
    "warning, step {step}: {reason_en}",
    "监测警告，第 {step} 步：{reason_zh}",
    EventLevel.WARNING,
)
COLLAPSE_STOP = MessageTemplate(
    "collapse_stop",
    "collapse monitor stops the run, step {step}: {reason_en}",
    "监测停止训练，第 {step} 步：{reason_zh}",
    EventLevel.STOP,
)
# How a run that the monitor stopped is shown in lists.
COLLAPSED = MessageTemplate("collapsed", "{reason_en}", "{reason_zh}", EventLevel.STOP)
UNSCORED = MessageTemplate(
    "unscored", "unscored by {reward}: {reason}", "“{reward}”没给出评判：{reason}", EventLevel.WARNING
)
VLLM_OFF = MessageTemplate(
    "vllm_off",
    "rollouts by transformers and not by vLLM: {reason_en}",
    "由 transformers 而不是 vLLM 生成：{reason_zh}",
    EventLevel.WARNING,
)

SERVING = MessageTemplate("serving", "serving {model} at {base_url}", "{model} 的服务地址：{base_url}")
SERVED_AT = MessageTemplate("served_at", "{model} @ {base_url}", "{model} @ {base_url}")
IDLE_STOP = MessageTemplate(
    "idle_stop", "no request for {minutes:g} minutes: stopping", "{minutes:g} 分钟没有请求，停止服务"
)

EXPORT_WRITING = MessageTemplate("export_writing", "writing, {percent} %", "正在写出，{percent}%")
EXPORT_UPLOADING = MessageTemplate("export_uploading", "uploading to {repository}", "正在上传到 {repository}")
EXPORTED = MessageTemplate("exported", "exported to {folder}", "已导出到 {folder}")
EXPORT_PUSHED = MessageTemplate("export_pushed", "uploaded: {address}", "已上传：{address}")
EXPORT_NUMBERS_DIFFER = MessageTemplate(
    "export_numbers_differ",
    "llama.cpp reads {count} numbers otherwise than the model learnt them ({examples}); the rest is the same",
    "llama.cpp 会把 {count} 个数字读成与训练时不同的词元（{examples}），其余相同",
    EventLevel.WARNING,
)


def training_step(step: int, total_steps: int, seconds_left: float) -> JobMessage:
    """How far a training is: optimizer steps done and in all, and a guess of the seconds that are left."""
    time_left = _duration(seconds_left)
    return TRAINING_STEP.fill(
        step=step,
        total=total_steps,
        seconds_left=round(seconds_left),
        left_en=time_left.en,
        left_zh=time_left.zh,
    )


def _duration(seconds: float) -> Message:
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return Message(f"{hours} h {minutes:02d} min", f"{hours} 小时 {minutes:02d} 分")
    return Message(f"{minutes} min {remaining_seconds:02d} s", f"{minutes} 分 {remaining_seconds:02d} 秒")
