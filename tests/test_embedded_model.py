"""The shipped weights: small, honest about themselves, and able to hold the four questions."""

import pytest

from skingpt4.common.checkpoint import read_metadata
from skingpt4.conversation.chat import load_chat
from skingpt4.dermatology import CLASSES, QUESTIONS
from skingpt4.labeler import label_text
from skingpt4.synthetic.render import render
from skingpt4.synthetic.sets import held_out_cases
from skingpt4.synthetic.text import SUBJECTS, WORDINGS, Intent, everyday_answers
from tests.conftest import PROJECT, interview

FOLDER = PROJECT / "weights" / "skingpt4-tiny"
LIMIT_MB = 16
# A world of its own: neither the training sets' seed nor the published cases'.
SEED = 7


UNSEEN = {
    Intent.DIAGNOSIS: (
        "What might this be?",
        "Could you tell me what disease I have?",
        "What skin problem is this?",
    ),
    Intent.FEATURES: (
        "Please tell me what you see.",
        "Describe my skin to me.",
        "Which features can you see?",
    ),
    Intent.CAUSE: (
        "What could be the cause of this?",
        "Why does my skin have this?",
        "Where did I get it from?",
    ),
    Intent.TREATMENT: (
        "How should I treat this?",
        "What medicine should I use?",
        "Is there a treatment?",
    ),
    Intent.CONTAGIOUS: (
        "Could I infect my family?",
        "Can others catch it from me?",
        "Would my wife catch it?",
    ),
    Intent.DANGER: ("Is it a danger for me?", "Is this a serious disease?", "Do I need to worry?"),
    Intent.CANCER: ("Can this be cancer?", "Might it be a skin cancer?", "Is this malignant?"),
    Intent.DOCTOR: (
        "Do I have to see a doctor?",
        "Should I visit a dermatologist?",
        "Do I need to go to a clinic?",
    ),
    Intent.WHY: ("Why do you believe that?", "What makes you say that?", "How do you know this?"),
    Intent.SURE: ("Are you certain?", "How sure is this diagnosis?", "Could this be wrong?"),
    Intent.HELLO: ("Hi there", "Good afternoon", "Hello doctor"),
    Intent.THANKS: ("Thanks for your help", "Thank you so much", "OK thanks"),
    Intent.WHO: ("Are you a real doctor?", "Who am I talking to?", "Are you a machine?"),
    Intent.OTHER: ("What is the capital of Spain?", "Tell me a story", "Can you cook?"),
}
"""Wordings of everyday questions that training never saw."""
NOISE = str.maketrans("", "", "?.!")


@pytest.fixture(scope="module")
def chat():
    return load_chat(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml", device="cpu")


@pytest.fixture(scope="module")
def drawings():
    cases = held_out_cases(SEED, per_class=2)
    return [(case.class_name, render(case)) for case in cases]


@pytest.fixture(scope="module")
def psoriasis():
    return next(case for case in held_out_cases(SEED, per_class=6) if case.disease == "psoriasis")


def test_the_weights_are_small():
    megabytes = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) / 1e6
    assert 1 < megabytes <= LIMIT_MB


def test_the_model_says_what_it_is(chat):
    assert "drawn images" in chat.model.notice
    assert "no clinical use" in chat.model.notice


def test_the_projection_was_trained_by_the_shipped_recipe():
    record = read_metadata(FOLDER / "skingpt4_tiny.safetensors")
    assert record["config"]["model"]["freeze_llm"] is True
    assert record["config"]["run"]["output_dir"] == "output/tiny/stage2"


def test_it_names_most_classes_of_drawings_never_seen(chat, drawings):
    assert {name for name, _ in drawings} == {row.name for row in CLASSES}
    hits = [
        label_text(interview(chat, photo, QUESTIONS[:1])[0]).mentioned == (name,)
        for name, photo in drawings
    ]
    # 24 of 30 is the 80 % asked of it; 20 leaves room for the chance of 30 draws.
    assert sum(hits) >= 20


def test_four_questions_get_four_finished_answers(chat, drawings):
    name, photo = next(row for row in drawings if row[0].startswith("Psoriasis"))
    answers = interview(chat, photo, QUESTIONS)
    assert len(set(answers)) == 4
    assert all(answer.endswith(".") for answer in answers)
    assert label_text(answers[0]).mentioned == (name,)
    assert "observe" in answers[1]
    assert "dermatologist" in answers[3]


def test_greedy_answers_repeat_and_seeds_repeat(chat, drawings):
    conv, photos = chat.new_conversation(), []
    chat.upload_img(drawings[0][1], conv, photos)

    def answer(**decoding):
        turn = conv.copy()
        chat.ask(QUESTIONS[0], turn)
        return chat.answer(turn, photos, **decoding)[0]

    assert answer() == answer()
    assert answer(temperature=1.5, seed=3) == answer(temperature=1.5, seed=3)


def test_the_unseen_wordings_are_unseen():
    seen = {
        words.replace("{it}", subject).lower().translate(NOISE)
        for wordings in WORDINGS.values()
        for words in wordings
        for subject in SUBJECTS
    }
    assert set(UNSEEN) == set(Intent)
    assert not seen & {w.lower().translate(NOISE) for words in UNSEEN.values() for w in words}


def test_everyday_questions_in_other_words_are_understood(chat, psoriasis):
    answers = everyday_answers(psoriasis)
    openings = {intent: answer[:8] for intent, answer in answers.items()}
    photo = render(psoriasis)
    understood = [
        interview(chat, photo, [words])[0].startswith(openings[intent])
        for intent, wordings in UNSEEN.items()
        for words in wordings
    ]
    assert sum(understood) >= 0.7 * len(understood)


def test_a_long_conversation_stays_in_whole_sentences(chat, psoriasis):
    known = set(everyday_answers(psoriasis).values())
    later = [words for wordings in UNSEEN.values() for words in wordings[:1]]
    answers = interview(chat, render(psoriasis), [*QUESTIONS, *later])
    assert all(answer.endswith((".", "?")) for answer in answers)
    words = {word for answer in known for word in answer.lower().split()}
    spoken = [word for answer in answers for word in answer.lower().split()]
    assert sum(word in words for word in spoken) >= 0.9 * len(spoken)
