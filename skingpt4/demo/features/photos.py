"""The photos that wait in the composer: judged, turned, cropped, removed, numbered as they will be.

A photo comes from the file dialog, the clipboard, a drop anywhere on the page or the camera;
``page.js`` sends each by one road (``routes.py``). A poor one waits, with a hint, until the visitor
says "Use it anyway" or takes another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from skingpt4.demo.features.photo_edit import Edit
from skingpt4.demo.i18n import failure, say, status, t
from skingpt4.demo.page import AT_ONCE, Page, Panel, Updates
from skingpt4.demo.session import Session, ShownPhoto

GUIDE_FOLDER = Path(__file__).parents[1] / "guide"

# Six small drawings of our own, by what they are examples of.
GUIDE = {"good": ("light", "sharp", "close"), "poor": ("dark", "blurred", "far")}

# Tells the server which button was pressed, with what is noted on it. Buttons that the browser
# serves by itself have no ``data-act``; what it then decides on comes as an event "act".
BUTTONS_SCRIPT = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (button) trigger("click", {...button.dataset});
});
element.addEventListener("act", (event) => trigger("click", event.detail));
"""


@dataclass(frozen=True)
class PhotoPanel(Panel):
    """The photos' parts.

    Attributes:
        waiting: The photos in the composer.
        start: What an empty page offers.
        examples: Drawn examples to try.
    """

    waiting: gr.HTML
    start: gr.Column
    examples: gr.HTML
    samples: tuple[Path, ...]

    def show(self, session: Session) -> Updates:
        """Show the waiting photos, each with its number, its hint and its buttons."""
        case, language = session.case, session.language
        first = len(case.photos) + 1
        cards = [waiting_photo(session, n, photo) for n, photo in enumerate(case.attached, first)]
        buttons = "".join(
            f'<button type="button" data-act="example" data-key="{number}">'
            f'<img src="{session.root}/page/examples/{number}" loading="lazy" '
            f'alt="{escape(say("photo.example", language, number=number + 1))}"></button>'
            for number in range(len(self.samples))
        )
        title = escape(say("photo.examples", language))
        examples = f'<p id="examples-title">{title}</p><div class="row">{buttons}</div>'
        return {
            self.waiting: "".join(cards),
            self.start: gr.update(visible=case.is_empty),
            self.examples: examples if self.samples else "",
        }


def waiting_photo(session: Session, number: int, photo: ShownPhoto) -> str:
    """Write a waiting photo as HTML; all texts in it are our own."""
    told = {
        key: escape(say(f"photo.{key}", session.language, number=number))
        for key in ("hint", "use", "zoom", "number", "edit", "edit_number", "remove")
    }
    key, hint = f'data-key="{photo.key}"', ""
    if photo.is_undecided:
        names = [say(f"photo.{problem.value}", session.language) for problem in photo.problems]
        items = "".join(f"<li>{escape(name)}</li>" for name in names)
        hint = (
            f'<div class="hint"><strong>{told["hint"]}</strong><ul>{items}</ul>'
            f'<button type="button" data-act="use" {key}>{told["use"]}</button></div>'
        )
    # What is needed to turn and crop it stands with the photo, for the browser to work with.
    edit = f'data-turns="{photo.edit.turns}" data-box="{",".join(map(str, photo.edit.box))}"'
    source = f"{session.root}/page/photos/{photo.key}"
    return (
        f'<figure {edit} data-original="{source}?original=1">'
        f'<button type="button" class="zoom" aria-label="{told["zoom"]}">'
        f'<img src="{source}" alt="{told["number"]}"></button>'
        f"<figcaption>{told['number']}</figcaption>"
        f'<button type="button" data-local="edit" {key} aria-label="{told["edit_number"]}">'
        f"{told['edit']}</button>"
        f'<button type="button" data-act="remove" {key} aria-label="{told["remove"]}">✕</button>'
        f"{hint}</figure>"
    )


def lay_out(samples: tuple[Path, ...]) -> PhotoPanel:
    """Make what an empty page offers: what this is, a photo's ways in, the guide, examples.

    The place of the waiting photos is made, too, and shown by the composer.

    Args:
        samples: Example photos.
    """
    with gr.Column(elem_id="start") as start:
        gr.HTML(t("photo.start"))
        with gr.Row(elem_id="ways-in"):
            gr.Button(t("photo.choose"), variant="primary", elem_id="choose")
            gr.Button(t("photo.take"), elem_id="take")
        gr.HTML(t("photo.ways"), elem_id="ways")
        pictures = gr.HTML(elem_id="examples", js_on_load=BUTTONS_SCRIPT)
        with gr.Accordion(t("photo.guide"), open=False, elem_id="guide"):
            for verdict, names in GUIDE.items():
                gr.HTML(t(f"photo.guide_{verdict}"), elem_classes=["guide-verdict", verdict])
                with gr.Row(elem_classes="drawings"):
                    for name in names:
                        with gr.Column(min_width=80):
                            gr.HTML((GUIDE_FOLDER / f"{name}.svg").read_text(encoding="utf-8"))
                            gr.HTML(t(f"photo.guide_{name}"), elem_classes=["caption"])
            gr.HTML(t("photo.guide_more"))
    waiting = gr.HTML(elem_id="waiting", js_on_load=BUTTONS_SCRIPT, render=False)
    return PhotoPanel([waiting, start, pictures], waiting, start, pictures, samples)


def wire(panel: PhotoPanel, page: Page) -> None:
    """Connect the buttons of the photos and of the examples."""

    def press(event: gr.EventData, request: gr.Request) -> None:
        session = page.session(request)
        try:
            sentence = act(panel.samples, session, event._data or {})
        except Exception as error:
            session.changed(failure(error, session.language))
        else:
            session.changed(status(sentence) if sentence else None)

    panel.waiting.click(press, None, None, **AT_ONCE)
    panel.examples.click(press, None, None, **AT_ONCE)


def act(samples: Sequence[Path], session: Session, asked: dict[str, Any]) -> str | None:
    """Do what a button of a photo asks for; what it sends may have been made up.

    Args:
        samples: The example photos.
        session: Whose photos.
        asked: ``act`` and ``key``, and for an edit ``turns`` and ``box``.

    Returns:
        What to say.

    Raises:
        ChatError: If it cannot be done.
    """
    kind, key = str(asked.get("act")), str(asked.get("key"))
    if kind == "example" and key.isdecimal() and int(key) < len(samples):
        return joined(session, session.attach(samples[int(key)].read_bytes()))
    if kind == "use":
        session.attached(key).is_accepted = True
        return say("photo.ready", session.language)
    if kind == "remove":
        session.detach(key)
        return say("photo.removed", session.language)
    if kind == "edit":
        try:
            edges = [float(edge) for edge in str(asked.get("box")).split(",")]
            edit = Edit(int(asked.get("turns", 0)), (edges[0], edges[1], edges[2], edges[3]))
        except (TypeError, ValueError, IndexError, OverflowError):
            edit = Edit()
        session.edit(key, edit)
        return say("photo.edited", session.language)
    return None


def joined(session: Session, photo: ShownPhoto) -> str:
    """Say that a photo has come, or what has to be decided about it."""
    case = session.case
    number = len(case.photos) + len(case.attached)
    if photo.is_undecided:
        return say("photo.look", session.language, number=number)
    return say("photo.ready" if number == 1 else "photo.added", session.language, number=number)
