"""The photos: added, judged, turned, cropped, removed; numbered as the conversation counts them.

A good photo joins the conversation at once. A poor one waits, with a hint, until the visitor says
"Use it anyway" or takes another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from PIL import Image

from skingpt4.common.errors import PhotoError
from skingpt4.demo.features import guide
from skingpt4.demo.features.photo_edit import WHOLE, Edit, Window, outline
from skingpt4.demo.i18n import Language, language_of, say, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Updates, failure, status
from skingpt4.demo.previews import data_url
from skingpt4.demo.session import MAX_PHOTOS, PREVIEW_SIDE, CasePhoto, Session
from skingpt4.demo.uploads import own_upload, read_upload
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import Problem, measure

PHOTOS_AT_ONCE = 4

THUMBNAIL_SIDE = 128

OPENED_SIDE = 4096
"""Photos with a longer side, in pixels, are scaled down; a phone's 12 megapixels stay whole."""

KEPT_SIDE = 2048
"""Originals are kept for turning and cropping with no longer side than this, in pixels."""

CLICKED_SIZE = 50
"""Part to keep, in per cent, when the first thing done to crop is a tap on the photo."""


@dataclass(frozen=True)
class Draft:
    """A poor photo that waits for the visitor's decision."""

    image: Image.Image
    problems: tuple[Problem, ...]


@dataclass
class PhotoView:
    """What the panel shows of a case.

    Attributes:
        number: Of the photo shown large, from 1.
        draft: Shown in place of it, if there is one.
        is_adding: Whether the box is empty for the next photo.
        window: The crop being chosen, if one is.
    """

    number: int = 1
    draft: Draft | None = None
    is_adding: bool = False
    window: Window | None = None


@dataclass
class PhotoRecord:
    """What the panel remembers of a tab: its language, and the originals of the photos in use."""

    language: Language = "en"
    originals: WeakKeyDictionary[CasePhoto, tuple[Image.Image, Edit]] = field(
        default_factory=WeakKeyDictionary
    )


@dataclass(frozen=True)
class PhotoPanel:
    """The photo's parts."""

    photo: gr.Image
    hint: gr.HTML
    decision: gr.Row
    use: gr.Button
    retake: gr.Button
    thumbnails: gr.Gallery
    tools: gr.Row
    add: gr.Button
    remove: gr.Button
    edit: gr.Accordion
    turn_left: gr.Button
    turn_right: gr.Button
    undo: gr.Button
    size: gr.Slider
    across: gr.Slider
    down: gr.Slider
    crop: gr.Button
    guide: gr.Accordion
    examples: gr.Dataset

    @property
    def outputs(self) -> Sequence[Any]:
        """The box, the hint, and what can be done with the photo in the box."""
        return [self.photo, self.hint, self.decision, self.thumbnails, self.tools, self.edit]

    def show(self, session: Session) -> Updates:
        """Show the photo that is looked at, what is wrong with it, and the others small."""
        case = session.case
        view, record = case.panel_state(PhotoView), session.panel_state(PhotoRecord)
        is_shown = bool(case.photos) and view.draft is None and not view.is_adding
        return {
            self.photo: _boxed(_picture(session)),
            self.hint: gr.update(
                value=_hint(view.draft, record.language), visible=view.draft is not None
            ),
            self.decision: gr.update(visible=view.draft is not None),
            self.thumbnails: gr.update(
                value=_thumbnails(case.photos, record.language),
                selected_index=_index(session) if is_shown else None,
                visible=len(case.photos) > 1 or (bool(case.photos) and not is_shown),
            ),
            self.tools: gr.update(visible=is_shown),
            self.edit: gr.update(visible=is_shown and not case.exchanges),
        }


def _index(session: Session) -> int:
    number = session.case.panel_state(PhotoView).number
    return min(number, len(session.case.photos)) - 1


def _picture(session: Session) -> str | None:
    """Return what the box shows, as an address; None leaves it empty for the next photo."""
    case, view = session.case, session.case.panel_state(PhotoView)
    if view.draft:
        return data_url(view.draft.image, PREVIEW_SIDE)
    if view.is_adding or not case.photos:
        return None
    photo = case.photos[_index(session)]
    if view.window is None:
        return photo.preview
    original, edit = _original(session, photo)
    upright = edit.upright(original)
    upright.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return data_url(outline(upright, view.window))


def _boxed(url: str | None) -> dict[str, str] | None:
    return {"url": url} if url else None


def _original(session: Session, photo: CasePhoto) -> tuple[Image.Image, Edit]:
    """Return a photo as it came and what was done to it since."""
    return session.panel_state(PhotoRecord).originals.get(photo, (photo.image, Edit()))


def _hint(draft: Draft | None, language: Language) -> str:
    if draft is None:
        return ""
    lines = "".join(
        f"<li>{escape(say(f'photo.{problem.value}', language))}</li>" for problem in draft.problems
    )
    title = escape(say("photo.hint", language))
    return f'<div role="alert" class="hint"><strong>{title}</strong><ul>{lines}</ul></div>'


def _thumbnails(photos: Sequence[CasePhoto], language: Language) -> list[dict[str, Any]]:
    return [
        {
            "image": {"url": data_url(photo.image, THUMBNAIL_SIDE)},
            "caption": say("photo.number", language, number=number),
        }
        for number, photo in enumerate(photos, start=1)
    ]


def lay_out(examples: Sequence[Path]) -> PhotoPanel:
    """Make the photo box, what belongs to it, the guide and the examples."""
    photo = gr.Image(
        label=t("photo.label"),
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        height=360,
        buttons=["fullscreen"],
        elem_id="photo",
        alt_text="The photo that is shown large",
    )
    hint = gr.HTML(visible=False, elem_id="hint")
    with gr.Row(visible=False, elem_id="decision") as decision:
        use = gr.Button(t("photo.use"), min_width=120)
        retake = gr.Button(t("photo.retake"), variant="primary", min_width=120)
    thumbnails = gr.Gallery(
        label=t("photo.thumbnails"),
        columns=MAX_PHOTOS,
        height="auto",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="thumbnails",
    )
    with gr.Row(visible=False, elem_id="photo-tools") as tools:
        add = gr.Button(t("photo.add"), size="sm", min_width=120)
        remove = gr.Button(t("photo.remove"), size="sm", min_width=120)
    parts = {"photo": photo, "hint": hint, "decision": decision, "use": use, "retake": retake}
    parts |= {"thumbnails": thumbnails, "tools": tools, "add": add, "remove": remove}
    return PhotoPanel(**parts, **_edit(), guide=guide.lay_out(), examples=_examples(examples))


def _edit() -> dict[str, Any]:
    with gr.Accordion(t("photo.edit"), open=False, visible=False, elem_id="edit") as edit:
        gr.HTML(t("photo.edit_note"))
        with gr.Row():
            turns = {
                name: gr.Button(t(f"photo.{name}"), size="sm", min_width=90)
                for name in ("turn_left", "turn_right", "undo")
            }
        sliders = {
            "size": gr.Slider(10, 100, value=100, step=1, label=t("photo.size")),
            "across": gr.Slider(0, 100, value=50, step=1, label=t("photo.across")),
            "down": gr.Slider(0, 100, value=50, step=1, label=t("photo.down")),
        }
        crop = gr.Button(t("photo.crop"), size="sm")
    return {"edit": edit, **turns, **sliders, "crop": crop}


def _examples(examples: Sequence[Path]) -> gr.Dataset:
    gr.set_static_paths([str(path) for path in examples])
    return gr.Dataset(
        label=t("photo.examples"),
        components=[gr.Image(visible=False, type="filepath")],
        samples=[[str(path)] for path in examples],
        type="index",
        visible=bool(examples),
        elem_id="examples",
    )


def wire(panel: PhotoPanel, page: Page, examples: Sequence[Path]) -> None:
    """Connect the box, the buttons under it and the examples."""
    actions = PhotoActions(panel, page, examples)
    sliders = [panel.size, panel.across, panel.down]
    everything = [*page.outputs, panel.guide, *sliders]
    # Photos have a line of their own, so that an answer being written holds no upload up.
    seen = PRIVATE | SHOWING | {"concurrency_limit": PHOTOS_AT_ONCE, "concurrency_id": "photos"}
    seen |= {"outputs": everything, "show_progress_on": panel.photo}
    seen |= {"preprocess": False}  # photos reach `open_photo` as they were sent
    # Pasting empties the box first, which is an event of its own: the photo's must not be lost.
    panel.photo.input(actions.take, [panel.photo], trigger_mode="always_last", **seen).then(
        actions.discard_uploads, None, None, **AT_ONCE
    )
    panel.use.click(actions.use, None, **seen)
    panel.examples.click(actions.example, [panel.examples], **seen)
    for button, quarters in ((panel.turn_left, 3), (panel.turn_right, 1)):
        button.click(actions.turn(quarters), None, **seen)
    panel.undo.click(actions.undo, None, **seen)
    panel.crop.click(actions.crop, None, **seen)
    panel.remove.click(actions.remove, None, **seen)
    shown = AT_ONCE | SHOWING | {"outputs": [*panel.outputs, page.status, *sliders]}
    panel.retake.click(actions.retake, None, **shown)
    panel.add.click(actions.add, None, **shown)
    panel.thumbnails.select(actions.choose, None, **shown)
    panel.photo.select(actions.aim, sliders, **shown)
    gr.on([slider.input for slider in sliders], actions.outline, sliders, **shown)


class PhotoActions:
    """What the panel's buttons do; nothing of one visitor is held here."""

    def __init__(self, panel: PhotoPanel, page: Page, examples: Sequence[Path]) -> None:
        self._panel = panel
        self._page = page
        self._examples = examples

    def take(self, upload: dict[str, Any] | None, request: gr.Request) -> Updates:
        """Take a photo from file, clipboard or webcam; without one, remove the one shown."""
        if not upload or not upload.get("path"):
            return self.remove(request)

        def take(session: Session) -> str:
            path = own_upload(str(upload["path"]))
            session.uploads.append(path)
            image = open_photo(read_upload(path), max_side=OPENED_SIDE)
            problems = measure(image).problems
            if not problems:
                return _join(session, image)
            image.thumbnail((KEPT_SIDE, KEPT_SIDE))
            session.case.panel_state(PhotoView).draft = Draft(image, problems)
            return "look"

        return self._do(take, request) | {self._panel.guide: gr.update(open=False)}

    def discard_uploads(self, request: gr.Request) -> None:
        """Delete what was sent, once the browser has stopped showing it from there."""
        self._page.session(request).discard_uploads()

    def use(self, request: gr.Request) -> Updates:
        """Use a poor photo anyway."""

        def use(session: Session) -> str:
            draft = session.case.panel_state(PhotoView).draft
            if draft is None:  # pressed twice
                return "ready"
            return _join(session, draft.image)

        return self._do(use, request)

    def example(self, index: int, request: gr.Request) -> Updates:
        """Begin again with one of the example photos."""

        def example(session: Session) -> str:
            image = open_photo(_member(self._examples, index).read_bytes())
            session.show_photo(image)
            _remember(session, image)
            return "ready"

        return self._do(example, request) | {self._panel.guide: gr.update(open=False)}

    def retake(self, request: gr.Request) -> Updates:
        """Put a poor photo away and wait for another."""

        def retake(session: Session) -> str:
            view = session.case.panel_state(PhotoView)
            view.draft, view.is_adding = None, True
            return "next" if session.case.photos else "empty"

        return self._do(retake, request, self._panel.show)

    def add(self, request: gr.Request) -> Updates:
        """Empty the box for the next photo; those that are there stay."""

        def add(session: Session) -> str:
            view = session.case.panel_state(PhotoView)
            view.is_adding, view.window = True, None
            return "next"

        return self._do(add, request, self._panel.show)

    def choose(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Show another of the photos large."""

        def choose(session: Session) -> str:
            _member(session.case.photos, event.index)
            _look_at(session, event.index + 1)
            return "ready"

        return self._do(choose, request, self._panel.show)

    def remove(self, request: gr.Request) -> Updates:
        """Remove what the box shows: a poor photo, or the photo with this number."""

        def remove(session: Session) -> str:
            view = session.case.panel_state(PhotoView)
            if view.draft or view.is_adding:
                view.draft = None
            elif len(session.case.photos) > 1:
                session.remove_photo(_index(session) + 1)
                return "removed"
            else:
                session.restart()
            return "ready" if session.case.photos else "empty"

        return self._do(remove, request)

    def turn(self, quarters: int) -> Callable[[gr.Request], Updates]:
        """Make the action that turns the photo clockwise."""

        def turn(request: gr.Request) -> Updates:
            return self._edit(lambda edit, view: edit.turned(quarters), request)

        return turn

    def undo(self, request: gr.Request) -> Updates:
        """Show the photo as it came."""
        return self._edit(lambda edit, view: Edit(), request)

    def crop(self, request: gr.Request) -> Updates:
        """Keep only what is outlined."""

        def crop(edit: Edit, view: PhotoView) -> Edit:
            return edit if view.window is None else replace(edit, window=view.window)

        return self._edit(crop, request)

    def outline(self, size: float, across: float, down: float, request: gr.Request) -> Updates:
        """Show what a crop would keep."""

        def show(session: Session) -> None:
            _check_editable(session)
            view = session.case.panel_state(PhotoView)
            view.window = Window(across / 100, down / 100, size / 100)

        return self._do(show, request, self._panel.show)

    def aim(
        self, size: float, across: float, down: float, event: gr.SelectData, request: gr.Request
    ) -> Updates:
        """Put the middle of the crop where the photo was tapped."""
        session = self._page.session(request)
        photos, view = session.case.photos, session.case.panel_state(PhotoView)
        if not photos or session.case.exchanges or view.draft or view.is_adding:
            return {}
        original, edit = _original(session, photos[_index(session)])
        if view.window is None and edit.window != WHOLE:  # the tap is on a part of the photo
            across, down = (round(100 * middle) for middle in (edit.window.x, edit.window.y))
        else:
            shown = edit.upright(original)
            shown.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            across = round(100 * event.index[0] / shown.width)
            down = round(100 * event.index[1] / shown.height)
        size = CLICKED_SIZE if size > 99 else size
        sliders = {self._panel.size: size, self._panel.across: across, self._panel.down: down}
        return self.outline(size, across, down, request) | sliders

    def _edit(self, change: Callable[[Edit, PhotoView], Edit], request: gr.Request) -> Updates:
        """Show the photo with another edit; the model looks at it anew."""

        def edit(session: Session) -> str:
            _check_editable(session)
            index = _index(session)
            original, before = _original(session, session.case.photos[index])
            after = change(before, session.case.panel_state(PhotoView))
            session.replace_photo(index + 1, after.apply(original))
            record = session.panel_state(PhotoRecord)
            record.originals[session.case.photos[index]] = (original, after)
            _look_at(session, index + 1)
            return "edited"

        middle = {self._panel.size: 100, self._panel.across: 50, self._panel.down: 50}
        return self._do(edit, request) | middle

    def _do(
        self,
        action: Callable[[Session], str | None],
        request: gr.Request,
        show: Callable[[Session], Updates] | None = None,
    ) -> Updates:
        """Act on the session; give what to show, and the sentence whose key the action returned."""
        session = self._page.session(request)
        language = language_of(request)
        session.panel_state(PhotoRecord).language = language
        try:
            key = action(session)
            number = len(session.case.photos)
            message = status(say(f"photo.{key}", language, number=number)) if key else None
        except Exception as error:
            message = failure(error, language)
        updates = (show or self._page.show)(session)
        return updates if message is None else updates | {self._page.status: message}


def _member(items: Sequence[Any], index: Any) -> Any:
    """Return one of a few things by an index that a browser sent.

    Raises:
        PhotoError: If there is no such thing.
    """
    if not isinstance(index, int) or not 0 <= index < len(items):
        raise PhotoError("There is no such photo; reload the page and choose again.")
    return items[index]


def _join(session: Session, image: Image.Image) -> str:
    """Add a photo to the conversation and show it."""
    session.add_photo(image)
    _remember(session, image)
    _look_at(session, len(session.case.photos))
    return "added" if len(session.case.photos) > 1 else "ready"


def _remember(session: Session, image: Image.Image) -> None:
    """Keep the original of the photo that came last."""
    image.thumbnail((KEPT_SIDE, KEPT_SIDE))
    session.panel_state(PhotoRecord).originals[session.case.photos[-1]] = (image, Edit())


def _look_at(session: Session, number: int) -> None:
    view = session.case.panel_state(PhotoView)
    view.number, view.draft, view.is_adding, view.window = number, None, False, None


def _check_editable(session: Session) -> None:
    language = session.panel_state(PhotoRecord).language
    view = session.case.panel_state(PhotoView)
    if not session.case.photos or view.draft or view.is_adding:
        raise PhotoError(say("photo.no_photo", language))
    if session.case.exchanges:
        raise PhotoError(say("photo.locked", language))
