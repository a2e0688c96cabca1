"""The HTML document around Gradio's pages, and the documentation of docs/ served under /help."""

import re
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse
from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.settings import PROJECT_ROOT
from ui.components.language import Language, Translator
from ui.components.templates import render

# Gradio's cards for other sites advertise Gradio: its name, its account, “Click to try out the app!”.
SOCIAL_CARDS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
LANG_ATTRIBUTE = re.compile(rb'<html\s+lang="[^"]*"')


class DocumentMiddleware:
    """Rewrites pages on their way out; everything else passes as it is."""

    def __init__(self, wrapped_app: ASGIApp, lang: str, script: str) -> None:
        self._wrapped_app = wrapped_app
        self._html_tag = f'<html lang="{lang}"'.encode()
        # First in the head, before Gradio's scripts: these choose their words by the language of the document
        # when they start, and its own `head` option comes after that.
        self._head_tag = f'<head><script src="{script}"></script>'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self._wrapped_app(scope, receive, send)
        start_message: Message | None = None
        body_parts: list[bytes] = []

        async def rewrite_message(message: Message) -> None:
            nonlocal start_message
            # The head of the answer waits for the body, whose length changes; anything else passes piece by
            # piece, since streams of events never end.
            if message["type"] == "http.response.start" and _is_html_page(message):
                start_message = message
            elif start_message is None:
                await send(message)
            else:
                body_parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    page_body = self.rewrite_page(b"".join(body_parts))
                    MutableHeaders(raw=start_message["headers"])["content-length"] = str(len(page_body))
                    await send(start_message)
                    await send({"type": "http.response.body", "body": page_body})

        return await self._wrapped_app(scope, receive, rewrite_message)

    def rewrite_page(self, page_html: bytes) -> bytes:
        """The page with its language and our script, without cards for other sites."""
        page_html = SOCIAL_CARDS.sub(b"", LANG_ATTRIBUTE.sub(self._html_tag, page_html, count=1))
        return page_html.replace(b"<head>", self._head_tag, 1)


def _is_html_page(start_message: Message) -> bool:
    headers = MutableHeaders(raw=start_message["headers"])
    # A compressed body cannot be searched; the layer stands inside of Gradio's compression, so this is the
    # exception.
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers


DOCS_FOLDER = PROJECT_ROOT / "docs"
# What the pages of docs/ are made of; whatever else lies there is not published by accident.
SERVED_SUFFIXES = (".md", ".png")


def build_router(style_url: str, script_url: str) -> APIRouter:
    """The routes under /help: every page and picture of docs/ at its own path, so that its links hold.

    style_url, script_url: the addresses of the sheet and of the script that knows the colour scheme.
    """
    help_routes = APIRouter(prefix="/help", include_in_schema=False)

    @help_routes.get("/{path:path}")
    def show_document(path: str) -> Response:
        # Resolved before it is compared: `..` and links would lead out of the folder.
        document_file = (DOCS_FOLDER / path).resolve()
        if (
            not document_file.is_relative_to(DOCS_FOLDER)
            or document_file.suffix not in SERVED_SUFFIXES
            or not document_file.is_file()
        ):
            missing_html = Markup("<p>没有这一页。There is no such page.</p>")
            return HTMLResponse(plain_page(Translator("zh"), missing_html, style_url, script_url), 404)
        if document_file.suffix != ".md":
            return FileResponse(document_file)
        return HTMLResponse(_documentation_page(document_file, style_url, script_url))

    return help_routes


def has_page(language: Language, page_path: str) -> bool:
    """Whether a page of the application is documented in this language."""
    return (DOCS_FOLDER / language / f"{page_path}.md").is_file()


def _documentation_page(document_file: Path, style_url: str, script_url: str) -> Markup:
    # Here and not at the top: most starts serve no documentation, and each would pay for the import.
    from markdown_it import MarkdownIt

    language, file_name = document_file.parent.name, document_file.name
    translate = Translator("zh" if language == "zh" else "en")
    body_html = (
        MarkdownIt("commonmark", {"html": False}).enable("table").render(document_file.read_text(encoding="utf-8"))
    )
    other_language = {"zh": "en", "en": "zh"}.get(language)
    has_other_language = other_language and (DOCS_FOLDER / other_language / file_name).is_file()
    other_language_path = f"../{other_language}/{file_name}" if has_other_language else ""
    # Raw HTML in Markdown is switched off above, and the pages of docs/ are our own.
    return plain_page(translate, Markup(body_html), style_url, script_url, other_language_path=other_language_path)


def plain_page(
    translate: Translator,
    page_body: Markup,
    style_url: str,
    script_url: str,
    page_title: str = "",
    other_language_path: str = "",
) -> Markup:
    """A plain page of the application outside of Gradio.

    page_title: the title of the documentation where it is empty.
    other_language_path: where the page stands in the other language, empty where it does not.
    """
    return render(
        "shell/templates/plain_page.html",
        translate=translate,
        title=page_title or translate("祝福 · 使用说明", "Zhufu · Documentation"),
        style_url=style_url,
        script_url=script_url,
        other_language_path=other_language_path,
        body=page_body,
    )
