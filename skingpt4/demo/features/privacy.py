"""What happens to the visitor's data, and the button that deletes it now."""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from skingpt4.common.network import is_offline, refused_connections
from skingpt4.demo.i18n import Language, language_of, say, t
from skingpt4.demo.page import AT_ONCE, SHOWING, Page, Updates, status
from skingpt4.demo.uploads import IDLE_SECONDS


@dataclass(frozen=True)
class PrivacyPanel:
    """The privacy panel's parts."""

    box: gr.Accordion
    facts: gr.HTML
    delete: gr.Button


def lay_out(is_sent_elsewhere: bool) -> PrivacyPanel:
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


def wire(panel: PrivacyPanel, page: Page, forget: Callable[[str], None]) -> None:
    """Connect the panel.

    Args:
        panel: Its parts.
        page: The page.
        forget: Forgets a tab's session, and what Gradio remembers of the tab, by its key.
    """

    def facts(request: gr.Request) -> Updates:
        return {panel.facts: _facts(language_of(request))}

    def delete(request: gr.Request) -> Updates:
        language = language_of(request)
        uploads = list(page.session(request).uploads)
        forget(str(request.session_hash))
        left = sum(path.exists() for path in uploads)
        message = say("privacy.left" if left else "privacy.deleted", language, files=left)
        return page.show(page.session(request), status(message)) | facts(request)

    panel.box.expand(facts, None, [panel.facts], **AT_ONCE)
    panel.delete.click(delete, None, [*page.outputs, panel.facts], **AT_ONCE, **SHOWING)


def _facts(language: Language) -> str:
    """Write what depends on how the program was started, and on what it did since."""
    idle = say("privacy.idle", language, minutes=IDLE_SECONDS // 60)
    if is_offline():
        reach = say("privacy.offline", language, refused=len(refused_connections()))
    else:
        reach = say("privacy.online", language)
    return f"<p>{idle}</p><p>{reach}</p>"
