"""How to take a good photo, in six small drawings of our own."""

from pathlib import Path

import gradio as gr

from skingpt4.demo.i18n import t

DRAWINGS = Path(__file__).resolve().parents[1] / "guide"

GOOD = ("light", "sharp", "close")

POOR = ("dark", "blurred", "far")


def lay_out() -> gr.Accordion:
    """Show the guide: three good photos over three poor ones, each named in words."""
    with gr.Accordion(t("photo.guide"), open=True, elem_id="guide") as guide:
        for verdict, names in (("good", GOOD), ("poor", POOR)):
            gr.HTML(t(f"photo.guide_{verdict}"), elem_classes=["guide-verdict", verdict])
            with gr.Row(elem_classes="drawings"):
                for name in names:
                    with gr.Column(min_width=80):
                        gr.HTML((DRAWINGS / f"{name}.svg").read_text(encoding="utf-8"))
                        gr.HTML(t(f"photo.guide_{name}"), elem_classes=["caption"])
        gr.HTML(t("photo.guide_more"))
    return guide
