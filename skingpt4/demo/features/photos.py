"""The photos: added, judged, turned, cropped, removed; numbered as the conversation counts them.

A good photo joins the conversation at once. A poor one waits, with a hint, until the visitor says
"Use it anyway" or takes another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from skingpt4.common.errors import PhotoError
from skingpt4.demo.features.photo_edit import WHOLE, Edit, Window, outline
from skingpt4.demo.i18n import failure, say, status, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Panel, Updates
from skingpt4.demo.session import MAX_PHOTOS, PREVIEW_SIDE, Session, photo_url
from skingpt4.demo.uploads import own_upload, read_upload
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import Problem, measure

GUIDE_FOLDER = Path(__file__).parents[1] / "guide"

# Six small drawings of our own, by what they are examples of.
GUIDE = {"good": ("light", "sharp", "close"), "poor": ("dark", "blurred", "far")}

PHOTOS_AT_ONCE = 4

THUMBNAIL_SIDE = 128

# Photos with a longer side, in pixels, are scaled down; a phone's 12 megapixels stay whole.
OPENED_SIDE = 4096

# Originals are kept for turning and cropping with no longer side than this, in pixels.
KEPT_SIDE = 2048

# Part to keep, in per cent, when the first thing done to crop is a tap on the photo.
CLICKED_SIZE = 50


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


@dataclass(frozen=True)
class PhotoPanel(Panel):
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

    def show(self, session: Session) -> Updates:
        """Show the photo that is looked at, what is wrong with it, and the others small."""
        case, language = session.case, session.language
        view = case.panel_state(PhotoView)
        is_shown = bool(case.photos) and view.draft is None and not view.is_adding
        # The photo with the number shown may have been removed since.
        index = min(view.number, len(case.photos)) - 1
        url, hint = None, ""
        if view.draft is not None:
            url = photo_url(view.draft.image, PREVIEW_SIDE)
            title = escape(say("photo.hint", language))
            sentences = [say(f"photo.{problem.value}", language) for problem in view.draft.problems]
            items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
            hint = f'<div role="alert" class="hint"><strong>{title}</strong><ul>{items}</ul></div>'
        elif is_shown and view.window is None:
            url = case.photos[index].preview
        elif is_shown and view.window is not None:
            # A crop is chosen on the whole photo, also where it has been cropped before.
            photo = case.photos[index]
            original, edit = photo.origin or (photo.image, Edit())
            upright = edit.upright(original)
            upright.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            url = photo_url(outline(upright, view.window))
        # As part of the page: a gallery's files would stay on the disk.
        thumbnails = [
            {
                "image": {"url": photo_url(photo.image, THUMBNAIL_SIDE)},
                "caption": say("photo.number", language, number=number),
            }
            for number, photo in enumerate(case.photos, start=1)
        ]
        return {
            self.photo: {"url": url} if url else None,
            self.hint: gr.update(value=hint, visible=view.draft is not None),
            self.decision: gr.update(visible=view.draft is not None),
            self.thumbnails: gr.update(
                value=thumbnails,
                selected_index=index if is_shown else None,
                visible=len(case.photos) > 1 or (bool(case.photos) and not is_shown),
            ),
            self.tools: gr.update(visible=is_shown),
            self.edit: gr.update(visible=is_shown and not case.exchanges),
        }


def lay_out(examples: Sequence[Path]) -> PhotoPanel:
    """Make the photo box, what belongs to it, the guide and the examples."""
    parts: dict[str, Any] = {}  # by the panel's field
    parts["photo"] = gr.Image(
        label=t("photo.label"),
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        height=360,
        buttons=["fullscreen"],
        elem_id="photo",
        alt_text="The photo that is shown large",
    )
    parts["hint"] = gr.HTML(visible=False, elem_id="hint")
    with gr.Row(visible=False, elem_id="decision") as parts["decision"]:
        parts["use"] = gr.Button(t("photo.use"), min_width=120)
        parts["retake"] = gr.Button(t("photo.retake"), variant="primary", min_width=120)
    parts["thumbnails"] = gr.Gallery(
        label=t("photo.thumbnails"),
        columns=MAX_PHOTOS,
        height="auto",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="thumbnails",
    )
    with gr.Row(visible=False, elem_id="photo-tools") as parts["tools"]:
        parts["add"] = gr.Button(t("photo.add"), size="sm", min_width=120)
        parts["remove"] = gr.Button(t("photo.remove"), size="sm", min_width=120)
    with gr.Accordion(t("photo.edit"), open=False, visible=False, elem_id="edit") as parts["edit"]:
        gr.HTML(t("photo.edit_note"))
        with gr.Row():
            for name in ("turn_left", "turn_right", "undo"):
                parts[name] = gr.Button(t(f"photo.{name}"), size="sm", min_width=90)
        for name, low, value in (("size", 10, 100), ("across", 0, 50), ("down", 0, 50)):
            parts[name] = gr.Slider(low, 100, value=value, step=1, label=t(f"photo.{name}"))
        parts["crop"] = gr.Button(t("photo.crop"), size="sm")
    with gr.Accordion(t("photo.guide"), open=True, elem_id="guide") as parts["guide"]:
        for verdict, names in GUIDE.items():
            gr.HTML(t(f"photo.guide_{verdict}"), elem_classes=["guide-verdict", verdict])
            with gr.Row(elem_classes="drawings"):
                for name in names:
                    with gr.Column(min_width=80):
                        gr.HTML((GUIDE_FOLDER / f"{name}.svg").read_text(encoding="utf-8"))
                        gr.HTML(t(f"photo.guide_{name}"), elem_classes=["caption"])
        gr.HTML(t("photo.guide_more"))
    # Served from where they are; Gradio would copy each into the visitors' folder.
    gr.set_static_paths([str(path) for path in examples])
    parts["examples"] = gr.Dataset(
        label=t("photo.examples"),
        components=[gr.Image(visible=False, type="filepath")],
        samples=[[str(path)] for path in examples],
        type="index",
        visible=bool(examples),
        elem_id="examples",
    )
    shown = ("photo", "hint", "decision", "thumbnails", "tools", "edit")
    return PhotoPanel([parts[name] for name in shown], **parts)


def wire(panel: PhotoPanel, page: Page, examples: Sequence[Path]) -> None:
    """Connect the box, the buttons under it and the examples."""
    sliders = [panel.size, panel.across, panel.down]
    folded: Updates = {panel.guide: gr.update(open=False)}
    uncropped: Updates = {panel.size: 100, panel.across: 50, panel.down: 50}
    # Photos have a line of their own, so that an answer being written holds no upload up.
    seen = PRIVATE | SHOWING | {"concurrency_limit": PHOTOS_AT_ONCE, "concurrency_id": "photos"}
    seen |= {"outputs": [*page.outputs, panel.guide, *sliders], "show_progress_on": panel.photo}
    seen |= {"preprocess": False}  # photos reach `open_photo` as they were sent
    shown = AT_ONCE | SHOWING | {"outputs": [*panel.outputs, page.status, *sliders]}

    def on(
        listen: Callable[..., Any],
        action: Action,
        *fixed: Any,
        whole_page: bool = True,
        also: Updates | None = None,
        **settings: Any,
    ) -> Any:
        def run(request: gr.Request, *given: Any) -> Updates:
            updates = act(panel, page, request, action, *fixed, *given, whole_page=whole_page)
            return updates | (also or {})

        run.__name__ = action.__name__
        return listen(run, **(seen if whole_page else shown) | settings)

    def discard_uploads(request: gr.Request) -> None:
        page.session(request).discard_uploads()

    def select(event: gr.SelectData, request: gr.Request) -> Updates:
        return act(panel, page, request, choose, event.index, whole_page=False)

    def tap(
        size: float, across: float, down: float, event: gr.SelectData, request: gr.Request
    ) -> Updates:
        values = aim(page.session(request), size, across, down, event.index)
        if values is None:
            return {}
        updates = act(panel, page, request, choose_window, *values, whole_page=False)
        return updates | dict(zip(sliders, values, strict=True))

    # Pasting empties the box first, which is an event of its own: the photo's must not be lost.
    taking: dict[str, Any] = {"inputs": [panel.photo], "trigger_mode": "always_last"}
    on(panel.photo.input, take, also=folded, **taking).then(
        discard_uploads,
        None,
        None,
        **AT_ONCE,  # once the browser shows the photo from elsewhere
    )
    on(panel.use.click, use)
    on(panel.examples.click, example, examples, also=folded, inputs=[panel.examples])
    for name in ("turn_left", "turn_right", "undo", "crop"):
        on(getattr(panel, name).click, edit, name, also=uncropped)
    on(panel.remove.click, remove)
    on(panel.retake.click, make_room, whole_page=False)
    on(panel.add.click, make_room, whole_page=False)
    panel.thumbnails.select(select, None, **shown)
    panel.photo.select(tap, sliders, **shown)
    moved = partial(gr.on, [slider.input for slider in sliders])
    on(moved, choose_window, whole_page=False, inputs=sliders)


# Does something to a session and returns the key of the sentence to show; "" for none, and None
# where nothing was done, so that the page stays as it is.
Action = Callable[..., str | None]


def act(
    panel: PhotoPanel,
    page: Page,
    request: gr.Request,
    action: Action,
    *given: Any,
    whole_page: bool = True,
) -> Updates:
    """Act on the visitor's session; give what to show, and the sentence, in every panel or here."""
    session = page.session(request)
    message = None
    try:
        key = action(session, *given)
        if key is None:
            return {}
        if key:
            number = len(session.case.photos)
            message = status(say(f"photo.{key}", session.language, number=number))
    except Exception as error:
        message = failure(error, session.language)
    updates = page.show(session) if whole_page else panel.show(session)
    # A visitor who empties the box may be pasting into it: what is empty is not emptied again, for
    # this answer can come after the pasted photo and would wipe it out.
    if action is take and not given[0] and updates[panel.photo] is None:
        del updates[panel.photo]
    return updates if message is None else updates | {page.status: message}


def take(session: Session, upload: dict[str, Any] | None) -> str | None:
    """Take a photo from file, clipboard or webcam; without one, remove the one shown."""
    if not upload:
        view = session.case.panel_state(PhotoView)
        is_empty = view.draft is None and (view.is_adding or not session.case.photos)
        return None if is_empty else remove(session)
    if not upload.get("path"):  # the page's own picture, which nobody sent
        return None
    path = own_upload(str(upload["path"]))
    session.uploads.append(path)
    image = open_photo(read_upload(path), max_side=OPENED_SIDE, name=path.name)
    problems = measure(image).problems
    if not problems:
        return _join(session, image, session.add_photo)
    # Scaled down before it waits: a visitor may think for long.
    image.thumbnail((KEPT_SIDE, KEPT_SIDE))
    session.case.panel_state(PhotoView).draft = Draft(image, problems)
    return "look"


def use(session: Session) -> str:
    """Use a poor photo anyway."""
    draft = session.case.panel_state(PhotoView).draft
    if draft is None:  # pressed twice
        return "ready"
    return _join(session, draft.image, session.add_photo)


def example(session: Session, examples: Sequence[Path], index: int) -> str:
    """Begin again with one of the example photos."""
    image = open_photo(_member(examples, index).read_bytes())
    return _join(session, image, session.show_photo)


def make_room(session: Session) -> str:
    """Put a poor photo away, and empty the box for the next; the case's photos stay."""
    view = session.case.panel_state(PhotoView)
    view.draft, view.is_adding, view.window = None, True, None
    return "next" if session.case.photos else "empty"


def choose(session: Session, index: int) -> str:
    """Show another of the photos large."""
    _member(session.case.photos, index)
    _show_large(session, index + 1)
    return "ready"


def remove(session: Session) -> str:
    """Remove what the box shows: a poor photo, or the photo with this number."""
    view = session.case.panel_state(PhotoView)
    if view.draft or view.is_adding:
        view.draft = None
    elif len(session.case.photos) > 1:
        session.replace_photo(min(view.number, len(session.case.photos)), None)
        return "removed"
    else:
        session.restart()
    return "ready" if session.case.photos else "empty"


def edit(session: Session, change: str) -> str:
    """Show the photo with another edit; the model encodes it again.

    Args:
        session: Whose.
        change: ``turn_left``, ``turn_right``, ``crop`` to what is outlined, or ``undo`` everything.
    """
    _check_editable(session)
    view = session.case.panel_state(PhotoView)
    number = min(view.number, len(session.case.photos))
    photo = session.case.photos[number - 1]
    original, before = photo.origin or (photo.image, Edit())
    quarters = {"turn_left": 3, "turn_right": 1}  # clockwise
    if change in quarters:
        after = before.turned(quarters[change])
    elif change == "crop":
        after = before if view.window is None else replace(before, window=view.window)
    else:
        after = Edit()
    session.replace_photo(number, after.apply(original))
    session.case.photos[number - 1].origin = (original, after)
    _show_large(session, number)
    return "edited"


def choose_window(session: Session, size: float, across: float, down: float) -> str:
    """Show what a crop would keep; the values are per cent."""
    _check_editable(session)
    window = Window(across / 100, down / 100, size / 100)
    session.case.panel_state(PhotoView).window = window
    return ""


def aim(
    session: Session, size: float, across: float, down: float, point: tuple[int, int]
) -> tuple[float, float, float] | None:
    """Put the middle of the crop where the photo was tapped, in pixels of what the box shows.

    Returns:
        The sliders' values; None where nothing can be cropped.
    """
    photos, view = session.case.photos, session.case.panel_state(PhotoView)
    if not photos or session.case.exchanges or view.draft or view.is_adding:
        return None
    photo = photos[min(view.number, len(photos)) - 1]
    original, edit = photo.origin or (photo.image, Edit())
    if view.window is None and edit.window != WHOLE:
        # The tap is on a part of the photo: the whole comes back first, with this part outlined.
        across, down = (round(100 * middle) for middle in (edit.window.x, edit.window.y))
    else:
        shown = edit.upright(original)
        shown.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        across = round(100 * point[0] / shown.width)
        down = round(100 * point[1] / shown.height)
    return CLICKED_SIZE if size > 99 else size, across, down


def _member(items: Sequence[Any], index: Any) -> Any:
    """Return one of a few things by an index that a browser sent.

    Raises:
        PhotoError: If there is no such thing.
    """
    if not isinstance(index, int) or not 0 <= index < len(items):
        sentence = "There is no such photo; reload the page and choose again."
        raise PhotoError(sentence, "no_such_photo")
    return items[index]


def _join(session: Session, image: Image.Image, put: Callable[[Image.Image], None]) -> str:
    """Put a photo into the conversation, keep its original for edits, and show it."""
    put(image)
    image.thumbnail((KEPT_SIDE, KEPT_SIDE))
    photos = session.case.photos
    photos[-1].origin = (image, Edit())
    _show_large(session, len(photos))
    return "added" if len(photos) > 1 else "ready"


def _show_large(session: Session, number: int) -> None:
    view = session.case.panel_state(PhotoView)
    view.number, view.draft, view.is_adding, view.window = number, None, False, None


def _check_editable(session: Session) -> None:
    view = session.case.panel_state(PhotoView)
    if not session.case.photos or view.draft or view.is_adding:
        raise PhotoError(say("photo.no_photo", session.language))
    if session.case.exchanges:
        raise PhotoError(say("photo.locked", session.language))
