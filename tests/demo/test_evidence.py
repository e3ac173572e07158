"""The evidence map: where it points, that it needs a trained model, and how the page shows it."""

import copy
import itertools
import math
import re
import threading
from functools import partial

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.features.evidence import (
    GRID,
    QUESTION_CHARS,
    Evidence,
    EvidencePanel,
    EvidenceState,
    draw,
    look_for_evidence,
    make_map,
    places,
    shortened,
)
from skingpt4.demo.i18n import say
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Session
from skingpt4.dermatology import QUESTIONS
from tests.conftest import PROJECT


class RedCounter:
    """A chat whose answers are the likelier, the more red its photos show."""

    def __init__(self):
        self.asked = []

    def encode_photos(self, images):
        return [float((np.asarray(image)[..., 1] < 100).mean()) for image in images]

    def log_likelihoods(self, conversation, photo_lists, answer):
        self.asked.append((conversation, photo_lists, answer))
        return np.array([100 * sum(photos) - 300 for photos in photo_lists])


def photo_with_spot(row, column):
    """A photo with a red spot in the middle of one of 7 x 7 cells."""
    image = Image.new("RGB", (140, 140), (210, 160, 130))
    box = (20 * column + 4, 20 * row + 4, 20 * column + 16, 20 * row + 16)
    ImageDraw.Draw(image).rectangle(box, fill=(160, 20, 20))
    return image


def map_of(image, chat=None, photos=(0.0,), number=0):
    stages = look_for_evidence(
        chat or RedCounter(), "conversation", photos, (number, image), "answer", threading.Event()
    )
    return list(stages)


@pytest.mark.parametrize("spot", [(0, 0), (3, 3), (5, 2)])
def test_map_points_at_what_the_answer_rests_on(spot):
    *_, evidence = map_of(photo_with_spot(*spot))
    assert evidence.strongest == spot
    assert evidence.strength()[spot] == 1
    far = evidence.strength()[(spot[0] + 4) % GRID, (spot[1] + 3) % GRID]
    assert far == 0


def test_both_ways_of_looking_agree_on_a_single_spot():
    *_, evidence = map_of(photo_with_spot(2, 4))
    assert np.allclose(evidence.hidden, evidence.alone, atol=0.02)
    assert evidence.hidden[2, 4] > 0.5


def test_map_gets_finer_until_every_place_was_looked_at():
    stages = map_of(photo_with_spot(1, 1))
    assert [stage.done for stage in stages] == [*range(4, 36, 4), 36]
    assert stages[-1].done == len(places())
    assert sorted(places()) == [(row, column) for row in range(6) for column in range(6)]


def test_only_the_chosen_photo_is_changed():
    chat = RedCounter()
    map_of(photo_with_spot(1, 1), chat, photos=(0.1, 0.2, 0.3), number=1)
    for conversation, photo_lists, answer in chat.asked:
        assert (conversation, answer) == ("conversation", "answer")
        assert {(photos[0], photos[2]) for photos in photo_lists} == {(0.1, 0.3)}


def test_cancel_ends_it():
    cancel = threading.Event()
    chat, image = RedCounter(), photo_with_spot(1, 1)
    stages = look_for_evidence(chat, None, (0.0,), (0, image), "", cancel)
    next(stages)
    cancel.set()
    assert list(stages) == []
    assert len(chat.asked) == 3


def test_a_photo_that_does_not_matter_has_an_empty_map(monkeypatch):
    monkeypatch.setattr(RedCounter, "log_likelihoods", lambda self, c, p, a: np.zeros(len(p)))
    *_, evidence = map_of(photo_with_spot(1, 1))
    assert not evidence.matters
    assert evidence.strength().max() == 0


def test_drawing_dims_what_does_not_matter_and_keeps_the_rest():
    image = Image.new("RGB", (140, 140), (210, 160, 130))
    weights = np.zeros((GRID, GRID))
    weights[3, 3] = 1
    drawn = np.asarray(draw(image, Evidence(weights, weights, done=36)))
    assert tuple(drawn[70, 70]) == (210, 160, 130)
    red, green, blue = drawn[5, 5]
    assert red == green == blue < 100
    assert (drawn == 255).all(axis=-1).any()


@pytest.fixture(scope="module")
def chat():
    return load_chat(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml", device="cpu")


@pytest.fixture(scope="module")
def session(chat):
    """A session in which the embedded model has described a melanoma."""
    session = Session(chat)
    session.attach(EXAMPLES_FOLDER / "melanoma.jpg")
    session.ask(QUESTIONS[0])
    list(session.answer())
    return session


def embedded_map(session, chat):
    exchange, image = session.case.exchanges[0], session.case.photos[0].image
    seen = chat.encode_photos([image])
    *_, evidence = look_for_evidence(
        chat, exchange.history, seen, (0, image), exchange.answer, threading.Event()
    )
    return evidence


def test_a_randomised_model_gives_a_different_map(session, chat):
    """The sanity check of Adebayo et al. 2018 (NeurIPS): maps must depend on what was learned.

    The shape of a random network's map follows the photo, too; its weights are what gives it away.
    """
    trained = embedded_map(session, chat)
    row, column = trained.strongest
    assert 1 <= row <= 5 and 1 <= column <= 5  # the mole is in the middle
    assert trained.strength().max() == 1
    generator = torch.Generator().manual_seed(0)
    model = copy.deepcopy(chat.model)
    for parameter in model.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.data = parameter.data.flatten()[order].view_as(parameter)
    other = embedded_map(session, Chat(model, chat.vis_processor))
    assert other.weights.max() < trained.weights.max() / 4
    assert other.strength().max() == 0


def test_every_photo_of_a_conversation_is_used(session, chat):
    """Changing any of three photos, the others being the same, changes what is likely."""
    acne, zoster, mole = chat.encode_photos(sorted(EXAMPLES_FOLDER.glob("*.jpg"))[:3])
    conversation = chat.new_conversation()
    for _ in range(3):
        conversation.add_photo()
    chat.ask(QUESTIONS[0], conversation)
    lists = [[mole] * 3, [acne, mole, mole], [mole, zoster, mole], [mole, mole, acne]]
    answer = session.case.exchanges[0].answer
    same, *others = chat.log_likelihoods(conversation, lists, answer)
    assert all(abs(other - same) > 1e-3 for other in others)


@pytest.fixture
def panel():
    return EvidencePanel(**{name: name for name in EvidencePanel.__dataclass_fields__})


def begin(panel, session, answer, photo):
    """Make a map when it is its turn; yield what the panel shows meanwhile."""
    job = run_job("evidence", session, WaitingRoom(1), partial(make_map, session, answer, photo))
    next(job)
    for _ in job:
        yield panel.show(session)


def test_the_page_shows_progress_the_map_and_what_it_says(panel, session):
    first, *_, last = begin(panel, session, 0, 1)
    assert "11 % of the photo" in first["status"]
    assert first["stop"] == gr.update(visible=True)
    assert "data:image/jpeg;base64," in first["map"]
    assert say("evidence.label", "en") in last["map"]
    assert "Strongest: centre" in last["map"]
    assert last["begin"] == gr.update(interactive=True)


def test_nothing_to_explain_is_a_sentence(panel, make_chat):
    *_, shown = begin(panel, Session(make_chat()), None, None)
    assert say("evidence.no_answer", "en") in shown["status"]
    assert shown["begin"] == gr.update(interactive=False)


@pytest.mark.parametrize("effect", [-0.02, 0.0])
def test_a_map_of_nothing_says_what_was_measured_and_no_more(panel, asked, effect):
    """Hiding and showing alone both change a word piece by `effect` nats, or not at all."""

    def likelihoods(conversation, photo_lists, answer):
        return np.full(len(photo_lists), effect) * (len(photo_lists) > 2) * next(signs)

    # The whole photo and none, then by turns what is hidden and what is shown alone.
    signs = itertools.chain([1], itertools.cycle([-1, 1]))
    asked.chat.log_likelihoods = likelihoods
    *_, last = begin(panel, asked, 0, 1)
    most = f"{100 * math.expm1(effect):+.1f}"
    sentence = say("evidence.nothing", "en", most=most, least="5")
    assert sentence in last["map"] and "does not depend" not in sentence


@pytest.fixture
def asked(make_chat, send):
    """A session with one photo and one answer, and a chat that finds nothing in any photo."""
    session = Session(make_chat(notice="Drawn."))
    session.chat.log_likelihoods = lambda conversation, lists, answer: np.zeros(len(lists))
    send(session, "What <is> it?")
    return session


def test_the_figure_tells_whose_answer_it_explains_and_holds_the_notice(panel, asked):
    *_, last = begin(panel, asked, 0, 1)
    (caption,) = re.findall("<figcaption>.*</figcaption>", last["map"])
    assert '<q lang="en">What &lt;is&gt; it?</q>' in caption and "photo 1" in caption
    assert "<p>Drawn.</p>" in caption
    asked.language = "zh"  # the switch of the page
    assert say("evidence.nothing", "zh", most="+0.0", least="5") in panel.show(asked)["map"]


def test_an_added_photo_or_a_retry_makes_it_stale(panel, asked, send):
    list(begin(panel, asked, 0, 1))
    assert say("evidence.stale", "en") not in panel.show(asked)["status"]
    send(asked)
    assert say("evidence.stale", "en") in panel.show(asked)["status"]
    *_, last = begin(panel, asked, 1, 1)
    assert say("evidence.stale", "en") not in last["status"]
    asked.ask_again()
    list(asked.answer())
    assert say("evidence.stale", "en") in panel.show(asked)["status"]


def test_it_appears_with_the_first_answer_and_stays_for_a_retry(panel, make_chat, photo_bytes):
    session = Session(make_chat())
    session.attach(photo_bytes).is_accepted = True
    session.ask("What is it?")
    assert panel.show(session)["box"] == gr.update(visible=False)
    list(session.answer())
    assert panel.show(session)["box"] == gr.update(visible=True)
    session.ask_again()
    assert panel.show(session)["box"] == gr.update(visible=True)


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("What is it?", "What is it?"),
        ("word " * 20, "word " * 11 + "word…"),
        ("很" * 80, "很" * QUESTION_CHARS + "…"),
    ],
)
def test_a_long_question_is_cut_after_a_word(question, shown):
    assert shortened(question) == shown
    assert len(shown) <= QUESTION_CHARS + 1


def test_what_was_chosen_stays_while_it_is_there(panel, make_chat, send):
    session = Session(make_chat())
    send(session)
    session.ask("And why?")
    list(session.answer())
    shown = panel.show(session)["answer"]
    assert (shown["choices"], shown["value"]) == ([("What is it?", 0), ("And why?", 1)], 0)
    session.case.panel_state(EvidenceState).chosen = session.case.answered[1]
    assert panel.show(session)["answer"]["value"] == 1
    session.ask_again()  # takes the chosen one back
    assert panel.show(session)["answer"] == gr.update(
        choices=[("What is it?", 0)], value=0, visible=True
    )
    session.begin_again()
    assert panel.show(session)["answer"] == gr.update(choices=[], value=0, visible=False)
