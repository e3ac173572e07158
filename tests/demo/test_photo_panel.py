"""The photo panel: what each of its buttons does and shows, and turning and cropping."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from skingpt4.demo.app import EXAMPLE_FILES
from skingpt4.demo.features import photos
from skingpt4.demo.features.photo_edit import SMALLEST, WHOLE, Edit
from skingpt4.demo.features.photos import PhotoPanel, act, joined
from skingpt4.demo.i18n import say, status
from skingpt4.demo.page import Page
from skingpt4.demo.session import MAX_PHOTOS, Sessions
from skingpt4.processors.photo import open_photo
from tests.demo.conftest import Tab


class Tags(HTMLParser):
    """Collects the tags of a piece of HTML with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, wanted, **having):
        keys = {f"data-{name}": value for name, value in having.items()}
        return [
            attrs for tag, attrs in self.tags if tag == wanted and keys.items() <= attrs.items()
        ]


class PhotoTab(Tab):
    """A tab with the photo panel's actions, as the browser calls them."""

    def __init__(self, page, actions, name="anna", **tab):
        super().__init__(page, name, **tab)
        self.actions = actions

    def send(self, data):
        photo = self.session.attach(data)
        self.session.changed(status(joined(self.session, photo)))
        return self.look()

    def press(self, kind, number=1, **noted):
        """Press a button of a waiting photo, by its number among those that wait."""
        key = self.session.case.attached[number - 1].key
        return self.do(kind, key, **noted)

    def do(self, kind, key="", **noted):
        event = SimpleNamespace(_data={"act": kind, "key": key} | noted)
        self.actions["press"](event, self.request)
        return self.look()

    @property
    def sizes(self):
        return [photo.image.size for photo in self.session.case.attached]

    @property
    def tags(self):
        return Tags(self.look()["waiting"])


@pytest.fixture
def open_tab(make_chat):
    """Open a tab of the one page; its parts are named as the panel's."""

    def make(name="anna", language="en", samples=tuple(EXAMPLE_FILES)):
        if not made:
            with gr.Blocks() as app:
                laid_out = photos.lay_out(samples)
                laid_out.waiting.render()
                panel = PhotoPanel([], "waiting", "start", "examples", samples)
                page = Page(Sessions(make_chat()), "status", "version", (panel,))
                photos.wire(laid_out, page)
            made[:] = page, {fn.name: fn.fn for fn in app.fns.values()}
        return PhotoTab(*made, name, language=language)

    made = []
    return make


def sentence(key, **values):
    return status(say(f"photo.{key}", "en", **values))


def test_a_good_photo_waits_with_its_number_and_its_buttons(open_tab, good_photo):
    tab = open_tab()
    assert tab.shown["start"]["visible"] and tab.shown["waiting"] == ""
    shown = tab.send(good_photo)
    assert shown["status"] == sentence("ready")
    assert not shown["start"]["visible"]
    (photo,) = tab.session.case.attached
    (image,) = tab.tags.all("img")
    assert image == {"src": f"/page/photos/{photo.key}", "alt": "Photo 1"}
    (figure,) = tab.tags.all("figure")
    assert figure["data-original"] == f"/page/photos/{photo.key}?original=1"
    assert (figure["data-turns"], figure["data-box"]) == ("0", "0.0,0.0,1.0,1.0")
    names = {
        b.get("data-act") or b.get("data-local"): b["aria-label"] for b in tab.tags.all("button")
    }
    assert names == {
        None: "Photo 1: look closer",
        "edit": "Turn or crop photo 1",
        "remove": "Remove photo 1",
    }
    assert "hint" not in shown["waiting"]


def test_photos_are_found_under_the_path_of_the_page(open_tab, good_photo):
    tab = open_tab()
    tab.session.root = "/clinic"
    shown = tab.send(good_photo)
    assert all(image["src"].startswith("/clinic/page/photos/") for image in tab.tags.all("img"))
    assert '"/clinic/page/examples/0"' in shown["examples"]


def test_a_poor_photo_waits_with_a_hint_until_it_is_decided_on(open_tab, poor_photo):
    tab = open_tab()
    shown = tab.send(poor_photo)
    assert "It looks blurred" in shown["waiting"] and "could be better" in shown["waiting"]
    assert shown["status"] == sentence("look", number=1)
    (photo,) = tab.session.case.attached
    assert len(tab.tags.all("button", act="use", key=photo.key)) == 1
    shown = tab.press("use")
    assert shown["status"] == sentence("ready") and "hint" not in shown["waiting"]
    assert tab.session.case.attached == [photo] and not photo.is_undecided


def test_a_poor_photo_can_be_edited_or_removed_instead(open_tab, poor_photo, good_photo):
    tab = open_tab()
    tab.send(good_photo)
    tab.send(poor_photo)
    shown = tab.press("edit", 2, turns=1, box="0,0,1,1")
    assert tab.sizes == [(400, 300), (300, 400)] and "It looks blurred" in shown["waiting"]
    shown = tab.press("remove", 2)
    assert tab.sizes == [(400, 300)] and "hint" not in shown["waiting"]


def test_photos_are_numbered_as_they_will_be_and_removed(open_tab, good_photo):
    tab = open_tab()
    tab.send(good_photo)
    tab.session.ask("What is it?")
    list(tab.session.answer())
    assert tab.look()["waiting"] == ""
    assert tab.send(good_photo)["status"] == sentence("added", number=2)
    tab.send(good_photo)
    kept = tab.session.case.attached[1]
    assert [image["alt"] for image in tab.tags.all("img")] == ["Photo 2", "Photo 3"]
    assert tab.press("remove", 1)["status"] == sentence("removed")
    assert tab.session.case.attached == [kept]
    assert [image["alt"] for image in tab.tags.all("img")] == ["Photo 2"]
    tab.session.undo()
    assert len(tab.session.case.attached) == 2


def test_one_photo_too_many_is_a_sentence_and_the_others_stay(open_tab):
    tab = open_tab()
    for _ in range(MAX_PHOTOS):
        tab.do("example", "0")
    assert f"{MAX_PHOTOS} photos already" in tab.do("example", "0")["status"]
    assert len(tab.sizes) == MAX_PHOTOS


def test_an_example_joins_the_photos_that_are_there(open_tab, good_photo):
    tab = open_tab()
    buttons = Tags(tab.shown["examples"]).all("button", act="example")
    assert [one["data-key"] for one in buttons] == [str(n) for n in range(len(EXAMPLE_FILES))]
    tab.send(good_photo)
    shown = tab.do("example", "1")
    assert tab.sizes == [(400, 300), Image.open(EXAMPLE_FILES[1]).size]
    assert shown["status"] == sentence("added", number=2)


def test_without_examples_none_are_offered(open_tab):
    assert open_tab(samples=()).shown["examples"] == ""


def test_an_unforeseen_error_is_a_sentence_without_what_it_quotes(open_tab, caplog):
    tab = open_tab()
    tab.session.chat.encode_photos = lambda images: {}["secret"]
    assert say("page.unexpected", "en") in tab.do("example", "0")["status"]
    assert "KeyError" in caplog.text and "secret" not in caplog.text


def test_a_press_that_says_nothing_changes_nothing(open_tab, good_photo):
    tab = open_tab()
    before = tab.send(good_photo)
    tab.actions["press"](SimpleNamespace(_data=None), tab.request)
    assert tab.look() | {"version": before["version"]} == before


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"act": "example", "key": str(len(EXAMPLE_FILES))},
        {"act": "example", "key": "-1"},
        {"act": "example", "key": "../0"},
        {"act": "example"},
        {"act": "delete everything"},
        {"act": ["use"], "key": {}},
    ],
)
def test_what_was_made_up_does_nothing(open_tab, good_photo, asked):
    tab = open_tab()
    before = tab.send(good_photo)
    assert act(EXAMPLE_FILES, tab.session, asked) is None
    assert tab.look() | {"version": before["version"]} == before


@pytest.mark.parametrize("kind", ["use", "remove", "edit"])
def test_a_photo_that_does_not_wait_cannot_be_changed(open_tab, good_photo, kind):
    anna, bert = open_tab(), open_tab("bert")
    anna.send(good_photo)
    bert.send(good_photo)
    for key in ("made up", bert.session.case.attached[0].key):
        assert "only waiting photos can change" in anna.do(kind, key, turns=1)["status"]
    assert anna.sizes == bert.sizes == [(400, 300)]


def test_turning_cropping_and_back(open_tab, good_photo):
    tab = open_tab()
    tab.send(good_photo)
    shown = tab.press("edit", turns=1, box="0,0,1,1")
    assert tab.sizes == [(300, 400)] and shown["status"] == sentence("edited")
    tab.press("edit", turns="1", box="0.25,0.25,0.75,0.75")
    assert tab.sizes == [(150, 200)]
    (figure,) = tab.tags.all("figure")
    assert (figure["data-turns"], figure["data-box"]) == ("1", "0.25,0.25,0.75,0.75")
    tab.session.undo()
    assert tab.sizes == [(300, 400)]
    tab.press("edit", turns=0, box="0,0,1,1")
    (photo,) = tab.session.case.attached
    assert photo.image.tobytes() == open_photo(good_photo).tobytes()


def test_an_edited_photo_has_a_new_address(open_tab, good_photo):
    tab = open_tab()
    tab.send(good_photo)
    (before,) = tab.tags.all("img")
    tab.press("edit", turns=1, box="0,0,1,1")
    (after,) = tab.tags.all("img")
    assert before["src"] != after["src"]


@pytest.mark.parametrize(
    ("turns", "box"),
    [
        (0, ""),
        (0, "a,b,c,d"),
        (0, "0,0"),
        ("x", "0,0,1,1"),
        ([1], "0,0,1,1"),
        (None, "0,0,1,1"),
        (1e999, "0,0,1,1"),
        (0, None),
        (4, "-5,-5,9,9"),
        (0, "-inf,-inf,inf,inf"),
    ],
)
def test_a_made_up_edit_is_the_whole_photo(open_tab, good_photo, turns, box):
    tab = open_tab()
    tab.send(good_photo)
    assert tab.press("edit", turns=turns, box=box)["status"] == sentence("edited")
    assert tab.session.case.attached[0].edit == WHOLE


def test_hints_and_sentences_are_in_the_visitors_language(open_tab, poor_photo):
    tab = open_tab(language="zh")
    shown = tab.send(poor_photo)
    assert say("photo.blurred", "zh") in shown["waiting"]
    assert shown["status"] == status(say("photo.look", "zh", number=1))
    assert not re.search(r">[A-Za-z ]{3,}<", shown["waiting"] + shown["examples"])


def test_visitors_see_their_own_only(open_tab, good_photo):
    anna, bert = open_tab(), open_tab("bert")
    anna.send(good_photo)
    assert bert.look()["waiting"] == "" and bert.sizes == []
    bert.do("remove", anna.session.case.attached[0].key)
    assert anna.sizes == [(400, 300)]


QUARTERS = Image.new("RGB", (40, 20), "red")
QUARTERS.paste("blue", (20, 0, 40, 20))


@pytest.mark.parametrize(
    ("turns", "size", "corner"),
    [
        (0, (40, 20), "red"),
        (1, (20, 40), "red"),
        (2, (40, 20), "blue"),
        (3, (20, 40), "blue"),
        (-1, (20, 40), "blue"),
        (6, (40, 20), "blue"),
    ],
)
def test_turns_are_clockwise(turns, size, corner):
    turned = Edit(turns).apply(QUARTERS)
    assert turned.size == size
    assert turned.getpixel((0, 0)) == Image.new("RGB", (1, 1), corner).getpixel((0, 0))
    assert QUARTERS.size == (40, 20)


def test_the_crop_is_of_the_turned_photo():
    assert Edit(1, (0, 0, 1, 0.5)).apply(QUARTERS).getcolors() == [(400, (255, 0, 0))]
    assert Edit(3, (0, 0, 1, 0.5)).apply(QUARTERS).getcolors() == [(400, (0, 0, 255))]
    assert Edit(0, (0.5, 0, 1, 1)).apply(QUARTERS).getcolors() == [(400, (0, 0, 255))]


NAN = float("nan")


@pytest.mark.parametrize(
    "box",
    [
        (-1, -2, 3, 4),
        (0.9, 0.9, 0.1, 0.1),
        (1, 1, 1, 1),
        (0.5, 0.5, 0.5, 0.5),
        (5, 5, -5, -5),
        (NAN, NAN, NAN, NAN),
        (0, NAN, NAN, 1),
    ],
)
def test_a_crop_always_lies_in_the_photo_and_can_be_seen(box):
    left, top, right, bottom = Edit(0, box).box
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert min(right - left, bottom - top) >= SMALLEST - 1e-9
    assert min(Edit(0, box).apply(QUARTERS).size) >= 1


def test_the_smallest_photo_can_be_cropped():
    dot = Image.new("RGB", (1, 1), "red")
    assert Edit(1, (0.4, 0.4, 0.6, 0.6)).apply(dot).size == (1, 1)
