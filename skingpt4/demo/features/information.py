"""What every visitor is told: the masthead, the consent before all else, the privacy panel."""

from dataclasses import dataclass
from html import escape

import gradio as gr

from skingpt4.common.network import is_offline, refused_connections
from skingpt4.demo.i18n import say, status, t
from skingpt4.demo.page import AT_ONCE, Page, Panel, Updates
from skingpt4.demo.session import IDLE_SECONDS, LEFT_SECONDS, Session

TITLE = "SkinGPT-4"

LANGUAGES = (
    '<nav aria-label="Language / 语言"><button type="button" lang="en" data-language="en">English'
    '</button><button type="button" lang="zh-CN" data-language="zh">中文</button></nav>'
)


@dataclass(frozen=True)
class ConsentPanel(Panel):
    """The consent's parts.

    Attributes:
        box: The consent.
        main: The page's main part, which takes its place.
    """

    box: gr.Column
    main: gr.Column
    agree: gr.Button

    def show(self, session: Session) -> Updates:
        """Show the main part once the visitor has agreed, also after a reload."""
        return {
            self.box: gr.update(visible=not session.has_agreed),
            self.main: gr.update(visible=session.has_agreed),
        }


def lay_out_top(notice: str) -> None:
    """Show the page's name, its languages, and what the model is not for.

    Args:
        notice: What must be known of this model before anything else; may be empty.
    """
    with gr.Column(elem_id="masthead"):
        with gr.Row(elem_id="title"):
            gr.HTML(f"<h1>{TITLE}</h1>")
            gr.HTML(t("masthead.tagline"), elem_id="tagline")
            # The browser keeps the choice and draws the page anew (page.js).
            gr.HTML(LANGUAGES, elem_id="languages")
        if notice:
            # The embedded model's notice is known in both languages, any other is shown as it is.
            is_known = notice == say("masthead.drawn", "en")
            gr.HTML(t("masthead.drawn") if is_known else escape(notice), elem_id="banner")
        gr.HTML(t("masthead.disclaimer"), elem_id="disclaimer")


def lay_out_consent(is_sent_elsewhere: bool) -> tuple[gr.Column, gr.Button]:
    """Make what a visitor has to know before the first photo.

    Args:
        is_sent_elsewhere: Whether another server writes the answers, which is said then.
    """
    with gr.Column(elem_id="consent", visible=False) as box:
        gr.HTML(t("consent.text"))
        if is_sent_elsewhere:
            gr.HTML(t("consent.elsewhere"))
        agree = gr.Button(t("consent.agree"), variant="primary", elem_id="agree")
    return box, agree


def wire_consent(panel: ConsentPanel, page: Page) -> None:
    """Remember that the visitor agrees."""

    def agree(request: gr.Request) -> None:
        session = page.session(request)
        session.has_agreed = True
        session.changed()

    panel.agree.click(agree, None, None, **AT_ONCE)


@dataclass(frozen=True)
class PrivacyPanel:
    """The privacy panel's parts."""

    box: gr.Accordion
    facts: gr.HTML
    delete: gr.Button


def lay_out_privacy(is_sent_elsewhere: bool) -> PrivacyPanel:
    """Make the panel, folded.

    Args:
        is_sent_elsewhere: Whether another server writes the answers, which is said then.
    """
    with gr.Accordion(t("privacy.title"), open=False, elem_id="privacy") as box:
        gr.HTML(t("privacy.kept"))
        if is_sent_elsewhere:
            gr.HTML(t("privacy.elsewhere"))
        facts = gr.HTML(elem_id="privacy-facts")
        delete = gr.Button(t("privacy.delete"), variant="stop", size="sm", elem_id="delete")
    return PrivacyPanel(box, facts, delete)


def wire_privacy(panel: PrivacyPanel, page: Page) -> None:
    """Connect the panel."""

    def facts(request: gr.Request) -> Updates:
        # What depends on how the program was started, and on what it did since.
        language = page.session(request).language
        idle = say("privacy.idle", language, minutes=IDLE_SECONDS // 60, left=LEFT_SECONDS // 60)
        if is_offline():
            network = say("privacy.offline", language, refused=len(refused_connections()))
        else:
            network = say("privacy.online", language)
        return {panel.facts: f"<p>{idle}</p><p>{network}</p>"}

    def delete(request: gr.Request) -> None:
        session = page.session(request)
        page.sessions.close(page.sessions.views[str(request.session_hash)].key, stays=True)
        session.changed(status(say("privacy.deleted", session.language)))

    panel.box.expand(facts, None, [panel.facts], **AT_ONCE)
    # Asked first, for nothing brings it back (page.js).
    panel.delete.click(delete, None, None, js="() => window.skingpt4.confirmDelete()", **AT_ONCE)
