"""What every visitor is told: the masthead, the consent before the first photo, the privacy panel.

None of the three shows anything of a session, so none has a ``show``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import gradio as gr

from skingpt4.common.network import is_offline, refused_connections
from skingpt4.demo.i18n import language_of, say, status, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Updates
from skingpt4.demo.uploads import IDLE_SECONDS

TITLE = "SkinGPT-4"

# The button pressed is gone: who works by keyboard goes on at the first part of the page. And
# Gradio gives the examples' buttons no name, which a screen reader needs. The page draws both in
# its own time, and the examples more than once: they are looked for whenever something was added.
GO_ON = """() => {
  let isOn = false;
  const goOn = () => {
    const examples = document.querySelector("#examples");
    const label = examples?.querySelector(".label")?.innerText.trim();
    if (label) examples.querySelectorAll("button").forEach((button, number) =>
      button.setAttribute("aria-label", `${label} ${number + 1}`));
    const main = document.querySelector("#main");
    isOn ||= Boolean(main?.contains(document.activeElement));
    if (!isOn) main?.querySelector("button, input")?.focus();
  };
  goOn();
  new MutationObserver(goOn).observe(document.body, {childList: true, subtree: true});
}"""


@dataclass(frozen=True)
class ConsentPanel:
    """The consent's parts."""

    box: gr.Column
    agree: gr.Button


def lay_out_top(notice: str, is_sent_elsewhere: bool) -> ConsentPanel:
    """Show the page's name, what the model is not for, and what to know before beginning.

    Args:
        notice: What must be known of this model before anything else; may be empty.
        is_sent_elsewhere: Whether another server writes the answers, which is said then.
    """
    with gr.Column(elem_id="masthead"):
        gr.HTML(f"<h1>{TITLE}</h1>")
        gr.HTML(t("masthead.tagline"), elem_id="tagline")
        if notice:
            # The embedded model's notice is known in both languages, any other is shown as it is.
            is_known = notice == say("masthead.drawn", "en")
            gr.HTML(t("masthead.drawn") if is_known else escape(notice), elem_id="banner")
        gr.HTML(t("masthead.disclaimer"), elem_id="disclaimer")
    with gr.Column(elem_id="consent") as box:
        gr.HTML(t("consent.text"))
        if is_sent_elsewhere:
            gr.HTML(t("consent.elsewhere"))
        agree = gr.Button(t("consent.agree"), variant="primary", elem_id="agree")
    return ConsentPanel(box, agree)


def wire_consent(panel: ConsentPanel, main: gr.Column) -> None:
    """Show the page's main part in place of this one once the visitor agrees."""

    def agree() -> Updates:
        return {panel.box: gr.update(visible=False), main: gr.update(visible=True)}

    panel.agree.click(agree, None, [panel.box, main], **AT_ONCE).then(
        None, None, None, js=GO_ON, **PRIVATE
    )


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


def wire_privacy(panel: PrivacyPanel, page: Page, forget: Callable[[str], None]) -> None:
    """Connect the panel.

    Args:
        panel: Its parts.
        page: The page.
        forget: Forgets a tab's session, and what Gradio remembers of the tab, by its key.
    """

    def facts(request: gr.Request) -> Updates:
        # What depends on how the program was started, and on what it did since.
        language = language_of(request)
        idle = say("privacy.idle", language, minutes=IDLE_SECONDS // 60)
        if is_offline():
            network = say("privacy.offline", language, refused=len(refused_connections()))
        else:
            network = say("privacy.online", language)
        return {panel.facts: f"<p>{idle}</p><p>{network}</p>"}

    def delete(request: gr.Request) -> Updates:
        uploads = list(page.session(request).uploads)
        # Not only the session: what Gradio remembers of the tab goes, too.
        forget(str(request.session_hash))
        # Looked at on the disk: the visitor is told only what is true.
        left = sum(path.exists() for path in uploads)
        key = "privacy.left" if left else "privacy.deleted"
        message = status(say(key, language_of(request), files=left))
        return page.show(page.session(request), message) | facts(request)

    panel.box.expand(facts, None, [panel.facts], **AT_ONCE)
    panel.delete.click(delete, None, [*page.outputs, panel.facts], **AT_ONCE, **SHOWING)
