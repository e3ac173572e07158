"""Consent, before the first photo: the page's other parts appear once the visitor has agreed."""

from dataclasses import dataclass

import gradio as gr

from skingpt4.demo.i18n import t
from skingpt4.demo.page import AT_ONCE, PRIVATE, Updates

GO_ON = """() => {
  const examples = document.querySelector("#examples");
  const label = examples?.querySelector(".label")?.innerText.trim();
  examples?.querySelectorAll("button").forEach((button, number) =>
    button.setAttribute("aria-label", `${label} ${number + 1}`));
  document.querySelector("#main button, #main input")?.focus();
}"""
"""The button pressed is gone: who works by keyboard goes on at the first part of the page. And
Gradio gives the examples' buttons no name, which a screen reader needs."""


@dataclass(frozen=True)
class ConsentPanel:
    """The consent's parts."""

    box: gr.Column
    agree: gr.Button


def lay_out(is_sent_elsewhere: bool) -> ConsentPanel:
    """Show what to know before beginning, in plain words.

    Args:
        is_sent_elsewhere: Whether another server writes the answers, which is said then.
    """
    with gr.Column(elem_id="consent") as box:
        gr.HTML(t("consent.text"))
        if is_sent_elsewhere:
            gr.HTML(t("consent.elsewhere"))
        agree = gr.Button(t("consent.agree"), variant="primary", elem_id="agree")
    return ConsentPanel(box, agree)


def wire(panel: ConsentPanel, main: gr.Column) -> None:
    """Show the page's main part in place of this one once the visitor agrees."""

    def agree() -> Updates:
        return {panel.box: gr.update(visible=False), main: gr.update(visible=True)}

    panel.agree.click(agree, None, [panel.box, main], **AT_ONCE).then(
        None, None, None, js=GO_ON, **PRIVATE
    )
