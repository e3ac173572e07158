"""A small evaluation folder for tests: drawn photos, a case list and answers of two systems."""

import csv

from PIL import Image, ImageDraw

from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation.cases import COLUMNS, case_list_hash, read_cases
from skingpt4.evaluation.responses import Answer, Response, Responses, write_responses

SYSTEMS = ("two-step", "step 1 only")
KINDS = (
    ("Psoriasis and lichen planus", "psoriasis", "Plaque;Scale", "II"),
    ("Urticaria hives", "urticaria", "Wheal", "V"),
    ("Melanoma skin cancer, nevi, moles", "melanoma", "Black", "III"),
)


def make_folder(folder, count=3):
    """Write cases.csv, its photos and responses.jsonl; return cases and responses."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number in range(1, count + 1):
        name, label, concepts, skin = KINDS[(number - 1) % len(KINDS)]
        photo = Image.new("RGB", (160, 120), (200, 150 + number, 120))
        ImageDraw.Draw(photo).ellipse((40, 30, 110, 90), fill="firebrick")
        photo.save(folder / "photos" / f"{number}.png")
        rows.append([f"c{number}", f"photos/{number}.png", name, label, concepts, skin, "drawn"])
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    cases = read_cases(folder / "cases.csv")
    responses = Responses(header(cases), [answer(c, s) for s in SYSTEMS for c in cases])
    write_responses(folder / "responses.jsonl", responses)
    return cases, responses


def header(cases):
    """What ``evaluate.py run`` writes first."""
    return {
        "kind": "header",
        "case_list": case_list_hash(cases),
        "systems": {name: {"kind": "test", "notice": "A demonstration."} for name in SYSTEMS},
        "environments": [{"device": "cpu"}],
    }


def answer(case, system):
    """The first system is right, the second sees hives everywhere."""
    disease = case.label if system == SYSTEMS[0] else "urticaria"
    texts = [
        f"This could be a skin disease image of {disease}.",
        f"There are {case.concepts[0].lower()}s <b>here</b>.",
        "The cause is not known.",
        "Please see a dermatologist.",
    ]
    pairs = zip(QUESTIONS, texts, strict=True)
    answers = [Answer(*pair, 0.1, 0.2 + len(pair[1]) / 500, 9) for pair in pairs]
    return Response(case.id, system, answers)
