"""The photo panel: what each of its buttons shows, and what becomes of the photos."""

import io
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image, ImageFilter

from skingpt4.demo.app import EXAMPLES_FOLDER, build_app
from skingpt4.demo.features import photos
from skingpt4.demo.features.photo_edit import Edit, Window, outline
from skingpt4.demo.features.photos import OPENED_SIDE, PhotoPanel, PhotoView, act, aim
from skingpt4.demo.page import Page
from skingpt4.demo.session import MAX_PHOTOS, Sessions
from skingpt4.processors.photo import open_photo

EXAMPLES = sorted(EXAMPLES_FOLDER.glob("*.jpg"))
GOOD = Image.open(EXAMPLES[0]).convert("RGB").resize((400, 300))
POOR = GOOD.filter(ImageFilter.GaussianBlur(6))


class Tab:
    """One visitor's tab: the panel's actions, as the browser calls them."""

    def __init__(self, panel, page, folder, language):
        self.panel = panel
        self.page = page
        self.folder = folder
        headers = {"accept-language": language}
        self.request = SimpleNamespace(session_hash=f"tab-{language}", headers=headers)
        self.session = page.session(self.request)

    def send(self, image, name="anna.jpg"):
        """Upload a photo as Gradio does, and let the page's next action delete it."""
        path = self.folder / "hash" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = image if isinstance(image, bytes) else jpeg(image)
        path.write_bytes(data)
        shown = self.do("take", {"path": str(path)})
        self.session.discard_uploads()
        assert not path.parent.exists()
        return shown

    def do(self, action, *given):
        return act(self.panel, self.page, self.request, getattr(photos, action), *given)

    def tap(self, x, y):
        return aim(self.session, 100, 50, 50, (x, y))

    @property
    def sizes(self):
        return [photo.image.size for photo in self.session.case.photos]

    @property
    def view(self):
        return self.session.case.panel_state(PhotoView)


def jpeg(image, **saving):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **saving)
    return buffer.getvalue()


@pytest.fixture
def open_tab(make_chat, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    panel = PhotoPanel(**{name: name for name in PhotoPanel.__dataclass_fields__})
    page = Page(Sessions(make_chat()), "status", (panel,))
    return lambda language="en-US": Tab(panel, page, tmp_path / "uploads", language)


def visible(shown, part):
    return shown[part]["visible"]


def test_a_good_photo_joins_the_conversation_at_once(open_tab):
    tab = open_tab()
    shown = tab.send(GOOD)
    assert "The photo is ready." in shown["status"]
    assert shown["photo"]["url"].startswith("data:image/jpeg;base64,")
    assert tab.sizes == [(400, 300)]
    assert visible(shown, "tools") and visible(shown, "edit")
    assert not visible(shown, "decision") and not visible(shown, "thumbnails")


def test_a_poor_photo_waits_with_a_hint(open_tab):
    tab = open_tab()
    shown = tab.send(POOR)
    assert "It looks blurred" in shown["hint"]["value"]
    assert visible(shown, "decision") and not visible(shown, "tools")
    assert shown["photo"] is not None and tab.sizes == []
    shown = tab.do("use")
    assert "The photo is ready." in shown["status"]
    assert tab.sizes == [(400, 300)] and not visible(shown, "decision")
    assert tab.do("use")["status"] and tab.sizes == [(400, 300)]


def test_another_may_be_taken_instead(open_tab):
    tab = open_tab()
    tab.send(POOR)
    shown = tab.do("make_room")
    assert shown["photo"] is None and not visible(shown, "decision")
    tab.send(GOOD)
    assert tab.sizes == [(400, 300)]


def test_photos_are_numbered_chosen_and_removed(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    assert tab.do("make_room")["photo"] is None
    shown = tab.send(GOOD.crop((0, 0, 300, 300)))
    assert "Photo 2 is ready." in shown["status"]
    captions = [item["caption"] for item in shown["thumbnails"]["value"]]
    assert captions == ["Photo 1", "Photo 2"]
    assert shown["thumbnails"]["selected_index"] == 1
    shown = tab.do("choose", 0)
    assert shown["photo"] == {"url": tab.session.case.photos[0].preview}
    shown = tab.do("remove")
    assert tab.sizes == [(300, 300)] and not visible(shown, "thumbnails")
    assert "begins again" in shown["status"]
    shown = tab.do("take", None)
    assert tab.sizes == [] and "to begin" in shown["status"]


def test_a_box_that_the_visitor_emptied_is_not_emptied_again(open_tab):
    """The answer could come after a photo that is being pasted, and wipe it out."""
    tab = open_tab()
    assert tab.do("take", None) == {}
    tab.send(GOOD)
    assert tab.do("take", {"url": tab.session.case.photos[0].preview}) == {}
    assert tab.sizes == [(400, 300)]
    shown = tab.do("take", None)
    assert "photo" not in shown and tab.sizes == []
    tab.send(GOOD)
    tab.do("make_room")
    assert tab.do("take", None) == {} and tab.sizes == [(400, 300)]
    tab.send(POOR)
    assert "photo" not in tab.do("take", None)
    assert tab.view.draft is None and tab.sizes == [(400, 300)]


@pytest.mark.parametrize(("name", "given"), [("take", None), ("example", 0)])
def test_the_guide_is_folded_once_there_is_a_photo(make_chat, name, given):
    app = build_app(make_chat(), examples=EXAMPLES)
    (guide,) = (part for part in app.blocks.values() if part.elem_id == "guide")
    (event,) = (event.fn for event in app.fns.values() if event.name == name)
    request = SimpleNamespace(session_hash="anna", headers={})
    assert event(request, given)[guide] == gr.update(open=False)


def test_one_photo_too_many_is_a_sentence_and_the_others_stay(open_tab):
    tab = open_tab()
    for _ in range(MAX_PHOTOS):
        tab.send(GOOD)
    assert f"{MAX_PHOTOS} photos already" in tab.send(GOOD)["status"]
    assert len(tab.sizes) == MAX_PHOTOS


def test_an_example_begins_anew(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    tab.do("example", EXAMPLES, 1)
    assert tab.sizes == [Image.open(EXAMPLES[1]).size]
    assert "no such photo" in tab.do("example", EXAMPLES, len(EXAMPLES))["status"]


def test_turning_cropping_and_back(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    tab.do("edit", "turn_right")
    assert tab.sizes == [(300, 400)]
    tab.do("choose_window", 50, 25, 25)
    assert tab.sizes == [(300, 400)]
    tab.do("edit", "crop")
    assert tab.sizes == [(150, 200)]
    tab.do("edit", "turn_left")
    assert tab.sizes == [(200, 150)]
    tab.do("edit", "undo")
    assert tab.sizes == [(400, 300)]
    assert tab.session.case.photos[0].image.tobytes() == open_photo(jpeg(GOOD)).tobytes()


def test_only_the_photo_shown_is_edited(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    tab.send(GOOD)
    tab.do("edit", "turn_right")
    assert tab.sizes == [(400, 300), (300, 400)] and tab.view.number == 2


def test_a_tap_aims_the_crop(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    assert tab.tap(100, 225) == (50, 25, 75)
    tab.do("choose_window", 50, 25, 75)
    tab.do("edit", "crop")
    assert tab.sizes == [(200, 150)]
    expected = open_photo(jpeg(GOOD)).crop((0, 150, 200, 300))
    assert tab.session.case.photos[0].image.tobytes() == expected.tobytes()
    assert tab.tap(10, 10) == (50, 25, 75)  # the whole photo comes back first


def test_after_a_question_the_photo_stays_as_it_is(open_tab):
    tab = open_tab()
    tab.send(GOOD)
    tab.session.ask("What is it?")
    shown = tab.do("edit", "turn_right")
    assert "add it again" in shown["status"] and tab.sizes == [(400, 300)]
    assert not visible(shown, "edit")
    assert tab.tap(1, 1) is None


@pytest.mark.parametrize("action", ["undo", "crop"])
def test_nothing_to_edit_is_a_sentence(open_tab, action):
    assert "no photo to edit" in open_tab().do("edit", action)["status"]


def test_a_bad_file_leaves_the_photo_that_is_there(open_tab):
    tab = open_tab()
    before = tab.send(GOOD)["photo"]
    shown = tab.send(b"not a photo")
    assert 'class="error"' in shown["status"]
    assert "&#x27;anna.jpg&#x27; is a text: send a photo" in shown["status"]
    assert str(tab.folder) not in shown["status"]
    assert shown["photo"] == before


@pytest.mark.parametrize("disguise", ["{0}", "{1}/../{2}", "{1}/hash/../../{2}"])
def test_no_other_file_of_this_machine_is_shown_or_deleted(open_tab, tmp_path, disguise):
    """A crafted request may name any path."""
    private = tmp_path / "private.jpg"
    private.write_bytes(jpeg(GOOD))
    tab = open_tab()
    path = disguise.format(private, tab.folder, private.name)
    shown = tab.do("take", {"path": path})
    assert "was not uploaded through this page" in shown["status"] and tab.sizes == []
    tab.session.discard_uploads()
    assert private.exists()


def test_what_the_camera_noted_is_gone(open_tab):
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 1.0)
    tab = open_tab()
    data = jpeg(GOOD, exif=exif)
    assert b"Secret Camera" in data
    shown = tab.send(data)
    photo = tab.session.case.photos[0]
    assert not photo.image.getexif() and photo.image.info == {}
    assert "Secret" not in str(shown)


def test_huge_photos_are_scaled_down(open_tab):
    tab = open_tab()
    tab.send(jpeg(GOOD.resize((6000, 4500))))
    assert max(tab.sizes[0]) <= OPENED_SIDE


def test_sentences_are_in_the_visitors_language(open_tab):
    shown = open_tab("zh-CN,zh;q=0.9").send(POOR)
    assert "照片看起来模糊" in shown["hint"]["value"] and "请查看" in shown["status"]


def test_visitors_see_their_own_only(open_tab):
    anna, bert = open_tab("en"), open_tab("de")
    anna.send(GOOD)
    assert bert.sizes == [] and bert.do("make_room")["photo"] is None
    assert anna.sizes == [(400, 300)]


QUARTERS = Image.new("RGB", (40, 20), "red")
QUARTERS.paste("blue", (20, 0, 40, 20))


@pytest.mark.parametrize(
    ("turns", "size", "corner"),
    [(0, (40, 20), "red"), (1, (20, 40), "red"), (2, (40, 20), "blue"), (3, (20, 40), "blue")],
)
def test_turns_are_clockwise(turns, size, corner):
    turned = Edit().turned(turns).apply(QUARTERS)
    assert turned.size == size
    assert turned.getpixel((0, 0)) == Image.new("RGB", (1, 1), corner).getpixel((0, 0))


def test_turning_keeps_the_part_that_is_seen():
    edit = Edit(window=Window(0.75, 0.5, 0.5))
    for turns in range(4):
        assert edit.turned(turns).apply(QUARTERS).getcolors() == [(200, (0, 0, 255))]
    assert edit.turned(4) == edit


@pytest.mark.parametrize("window", [Window(-1, 2, 0.5), Window(1, 1, 5), Window(0.5, 0.5, 0)])
def test_a_window_always_lies_in_the_photo(window):
    left, top, right, bottom = window.box(QUARTERS)
    assert 0 <= left < right <= 40 and 0 <= top < bottom <= 20


def test_the_outline_dims_the_rest():
    grey = Image.new("RGB", (200, 200), (200, 200, 200))
    shown = outline(grey, Window(0.5, 0.5, 0.5))
    assert shown.getpixel((10, 10)) == (80, 80, 80) and shown.getpixel((100, 100)) == (200,) * 3
    assert grey.getpixel((10, 10)) == (200, 200, 200)
