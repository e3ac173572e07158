"""Captions, answers and dialogues."""

import json
import re

import numpy as np
import pytest

from skingpt4.dermatology import CLASSES, CONCEPTS, QUESTIONS
from skingpt4.labeler import label_text
from skingpt4.prompts import load_prompts, with_image_slot
from skingpt4.synthetic import text
from skingpt4.synthetic.text import WORDINGS, Intent, wording
from skingpt4.synthetic.world import CLASS_OF, DISEASES, Stream, sample_case
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def cases():
    return [sample_case(2, Stream.DIALOGUE, index) for index in range(600)]


def test_concept_caption_has_the_papers_form(cases):
    for case in cases:
        caption = text.concept_caption(case)
        assert caption.startswith("This is a skin disease image with following clinical concepts: ")
        assert label_text(caption).concepts == case.concepts


def test_diagnosis_caption_names_the_disease_and_its_class(cases):
    for case in cases:
        caption = text.diagnosis_caption(case)
        assert caption == f"This could be a skin disease image of {case.disease}."
        assert label_text(caption).mentioned == (case.class_name,)


def test_features_answer_lists_every_concept_in_words(cases):
    for case in cases:
        assert label_text(text.features_answer(case)).concepts == case.concepts


def test_plain_words_are_distinct_and_not_clinical():
    assert set(text.PLAIN) == {concept.name for concept in CONCEPTS}
    assert len(set(text.PLAIN.values())) == 48
    assert all(2 <= len(phrase.split()) <= 5 for phrase in text.PLAIN.values())
    clinical = {"erythema", "papule", "plaque", "macule", "lesion", "patch", "scale", "crust"}
    words = {word for phrase in text.PLAIN.values() for word in phrase.lower().split()}
    assert not clinical & words


def test_general_caption_is_plain_and_short(cases):
    for case in cases:
        caption = text.general_caption(case)
        assert label_text(caption).mentioned == ()
        assert len(caption.split()) <= 45
        assert f" {text.TONES[case.fitzpatrick]} skin " in caption
        body = caption.split(": ")[1].rstrip(".")
        assert body.split(", ") == [text.PLAIN[concept] for concept in case.concepts]


@pytest.mark.parametrize("disease", DISEASES)
def test_cause_and_treatment_are_short_on_topic_and_cautious(disease):
    case = next(
        case
        for case in (sample_case(0, Stream.SHOW, index) for index in range(60))
        if case.disease == disease
    )
    for answer in [turn["answer"] for turn in text.four_answers(case)[2:]]:
        assert disease in answer.lower()
        assert label_text(answer).top == CLASS_OF[disease]
        others = [other for other in DISEASES if CLASS_OF[other] != CLASS_OF[disease]]
        assert not any(re.search(rf"\b{other}\b", answer.lower()) for other in others)
        assert len(re.findall(r"\.(?:\s|$)", answer)) == 2
        assert len(answer.split()) <= 40
    assert (
        text.four_answers(case)[3]["answer"]
        .split(". ")[-1]
        .startswith("Please see a dermatologist")
    )


def test_knowledge_covers_exactly_the_diseases():
    assert set(text.KNOWLEDGE) == {name for entry in CLASSES for name in entry.diseases}
    causes = {entry.cause for entry in text.KNOWLEDGE.values()}
    assert len(causes) == len(text.KNOWLEDGE)


def test_four_answers_are_the_papers_questions(cases):
    turns = text.four_answers(cases[0])
    assert tuple(turn["question"] for turn in turns) == QUESTIONS
    assert len({turn["answer"] for turn in turns}) == 4


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("alignment.txt", text.GENERAL_QUESTIONS),
        ("alignment_concept.txt", (text.CONCEPT_QUESTION,)),
        ("alignment_skin.txt", text.DIAGNOSIS_QUESTIONS),
    ],
)
def test_questions_are_the_training_prompts(name, questions):
    prompts = load_prompts(PROJECT / "prompts" / name)
    assert prompts == [with_image_slot(question) for question in questions]


def spoken(talk, cases):
    """The slot's words and the questions of every conversation."""
    for number, case in enumerate(cases):
        turns = talk(case, np.random.default_rng(number))
        assert turns == talk(case, np.random.default_rng(number))
        assert all(set(turn) == {"question", "answer"} for turn in turns)
        slot = re.match(r"<Img>(.+?)</Img> (.+)", turns[0]["question"])
        assert slot is not None
        questions = [slot.group(2), *(turn["question"] for turn in turns[1:])]
        yield case, slot.group(1).split(", "), questions


def test_text_questions_are_those_of_the_training_prompts_and_everyday_ones(cases):
    asked = [questions for _, _, questions in spoken(text.text_question, cases)]
    assert all(len(questions) == 1 for questions in asked)
    wanted = {*QUESTIONS[:2], *text.GENERAL_QUESTIONS, *text.DIAGNOSIS_QUESTIONS}
    wanted.add(text.CONCEPT_QUESTION)
    assert wanted <= {questions[0] for questions in asked}
    everyday = [questions for questions in asked if questions[0] not in wanted]
    assert 0.1 < len(everyday) / len(asked) < 0.3


def test_text_dialogues_hold_the_four_questions_and_everyday_ones(cases):
    asked = [questions for _, _, questions in spoken(text.text_dialogue, cases)]
    lengths = [len(questions) for questions in asked]
    assert (min(lengths), max(lengths)) == (2, 10)
    assert any(tuple(questions) == QUESTIONS for questions in asked)
    assert any(tuple(questions[:4]) == QUESTIONS and len(questions) > 4 for questions in asked)
    assert any(not set(questions) & set(QUESTIONS) for questions in asked)


def test_every_intent_has_an_answer_of_its_own(cases):
    for case in cases[:50]:
        answers = text.everyday_answers(case)
        assert set(answers) == set(Intent)
        assert len(set(answers.values())) == len(Intent)
        assert all(answer.endswith((".", "?")) for answer in answers.values())
        assert label_text(answers[Intent.WHY]).concepts == case.concepts
        assert label_text(answers[Intent.WHY]).mentioned == (case.class_name,)


@pytest.mark.parametrize(
    ("disease", "says"),
    [
        ("melanoma", "is a skin cancer"),
        ("basal cell carcinoma", "is a skin cancer"),
        ("actinic keratosis", "can turn into one"),
        ("psoriasis", "only a dermatologist can be sure"),
    ],
)
def test_cancer_is_neither_claimed_nor_ruled_out_for_certain(cases, disease, says):
    case = next(case for case in cases if case.disease == disease)
    answer = text.everyday_answers(case)[Intent.CANCER]
    assert answer.startswith(f"I think of {disease}, ")
    assert says in answer
    assert "dermatologist" in answer


def test_wordings_are_told_apart_and_are_written_as_people_write():
    rng = np.random.default_rng(0)
    shapes = [text for texts in WORDINGS.values() for text in texts]
    assert len(set(shapes)) == len(shapes)
    written = [wording(Intent.CONTAGIOUS, rng) for _ in range(400)]
    assert "{it}" not in "".join(written)
    assert "Is it contagious?" in written
    assert any(words.startswith("Doctor, ") for words in written)
    assert any(not words.endswith("?") for words in written)
    assert any(words == words.lower() for words in written)
    assert len(set(written)) > 100


@pytest.mark.parametrize("talk", [text.text_question, text.text_dialogue])
def test_notes_hold_every_concept_in_some_words_and_order(talk, cases):
    clinical = plain = disorder = 0
    for case, words, _ in spoken(talk, cases):
        for concept in case.concepts:
            assert concept in words or text.PLAIN[concept] in words
        clinical += sum(concept in words for concept in case.concepts)
        plain += sum(text.PLAIN[concept] in words for concept in case.concepts)
        named = [word for word in words if word in case.concepts]
        disorder += named != sorted(named, key=case.concepts.index)
    assert min(clinical, plain) > 0.4 * (clinical + plain)
    assert disorder > 0


def test_vocabulary_is_compact(cases):
    words = set()
    for number, case in enumerate(cases):
        turns = text.text_dialogue(case, np.random.default_rng(number))
        words |= set(re.findall(r"[a-z]+", json.dumps(turns).lower()))
    assert len(words) < 1500
