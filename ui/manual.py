"""The documentation of docs/ as pages of the application: what the “?” of a page leads to."""

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

from backend.settings import ROOT
from ui.say import Lang, Say
from ui.widgets import esc

DOCS = ROOT / "docs"
KINDS = (".md", ".png")


def router(style: str, script: str) -> APIRouter:
    """The routes under /help: every page and picture of docs/ at its own path, so that its links hold.

    `style` and `script` are the addresses of the sheet and of the script that knows the colour scheme.
    """
    routes = APIRouter(prefix="/help", include_in_schema=False)

    @routes.get("/{path:path}")
    def show(path: str) -> Response:
        file = (DOCS / path).resolve()
        if not file.is_relative_to(DOCS) or file.suffix not in KINDS or not file.is_file():
            missing = "<p>没有这一页。There is no such page.</p>"
            return HTMLResponse(frame(Say("zh"), "", missing, style, script), 404)
        if file.suffix != ".md":
            return FileResponse(file)
        return HTMLResponse(_page(file, style, script))

    return routes


def has_page(lang: Lang, path: str) -> bool:
    """Whether a page of the application is documented in this language."""
    return (DOCS / lang / f"{path}.md").is_file()


def _page(file: Path, style: str, script: str) -> str:
    from markdown_it import MarkdownIt

    lang, name = file.parent.name, file.name
    say = Say("zh" if lang == "zh" else "en")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(file.read_text(encoding="utf-8"))
    other = {"zh": "en", "en": "zh"}.get(lang)
    switch = ""
    if other and (DOCS / other / name).is_file():
        switch = f'<a href="../{other}/{esc(name)}">{say("English", "中文")}</a>'
    return frame(say, switch, body, style, script)


def frame(say: Say, switch: str, body: str, style: str, script: str, title: str = "") -> str:
    """A plain page of the application outside of Gradio: `body` is ready HTML."""
    title = title or say("祝福 · 使用说明", "Zhufu · Documentation")
    contents = f'<a href="/help/{say.lang}/index.md">{say("目录", "Contents")}</a>'
    back = f'<a href="/{say.lang}/">{say("回到祝福", "Back to Zhufu")}</a>'
    return (
        f'<!doctype html><html lang="{"zh-CN" if say.lang == "zh" else "en"}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f'<link rel="stylesheet" href="{style}"><script src="{script}"></script></head>'
        f"<body><header>{back}<span>{contents}{switch}</span></header><main>{body}</main></body></html>"
    )
