"""Real photos, from public tables to a conversation: converted, trained on in both steps, asked.

The embedded model's projection learns from a few hundred photos in a few dozen steps: enough to
show that the path is whole and the loss falls, and nothing about how well skin is read.
"""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.conversation.chat import load_chat
from skingpt4.dermatology import QUESTIONS
from tests.conftest import PROJECT, TEST_DATA
from tests.scripts import run_here

pytestmark = pytest.mark.skipif(
    not (TEST_DATA / "labelled_15class.csv").is_file(),
    reason="no real photos here; see CONTRIBUTING.md",
)
# What is found of the 3,230 photos in SKINCON's table, and 230 photos of the 15 classes.
CONVERSIONS = (
    "skincon --table {data}/annotations/skincon/annotations_fitzpatrick17k.csv "
    "--images {data}/images --output data/skin_concept",
    "csv --table {data}/labelled_15class.csv --columns image=path label=label_original "
    "class=class_15 --output data/skin_align",
)
STEPS = ("tiny_photos_stage1_concept", "tiny_photos_stage2_diagnosis")
# Three passes instead of ten, without what other tests look at.
SHORTER = ("run.max_epoch=3", "run.val_generations=0", "run.tensorboard=False")
FIRST_PROMPT = "What's wrong with my skin?"


def run(script, *arguments):
    assert run_here(script, *arguments) == 0, f"{script} {shlex.join(arguments)}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Convert and train in an empty folder, with the commands of the documentation."""
    folder = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SKINGPT4_DATA", raising=False)
        for command in CONVERSIONS:
            words = shlex.split(command.format(data=shlex.quote(str(TEST_DATA))))
            run("dataset/convert.py", *words, "--val-share", "0.2", "--max-side", "160")
        for step in STEPS:
            options = ("--options", *SHORTER)
            run("train.py", "--cfg-path", f"train_configs/{step}.yaml", *options)
    return folder


@pytest.fixture(scope="module")
def chat(workplace):
    """Load the last checkpoint as the training file's own comment says."""
    ckpt = workplace / "output" / STEPS[1] / "checkpoint_last.safetensors"
    path = PROJECT / "train_configs" / f"{STEPS[1]}.yaml"
    return load_chat(path, [f"model.ckpt={ckpt}"], "cpu")


def answer(chat, photo, question):
    conv, photos = chat.new_conversation(), []
    chat.upload_img(photo, conv, photos)
    chat.ask(question, conv)
    return chat.answer(conv, photos, max_new_tokens=60)[0]


@pytest.mark.parametrize(("name", "least"), [("skin_concept", 300), ("skin_align", 230)])
def test_the_photos_are_converted_without_their_metadata(workplace, name, least):
    photos = sorted((workplace / "data" / name).glob("*/image/*.jpg"))
    assert len(photos) >= least
    for path in photos[::20]:
        with Image.open(path) as photo:
            assert max(photo.size) <= 160
            assert not photo.getexif()


@pytest.mark.parametrize("step", STEPS)
def test_the_loss_falls_on_photos_trained_on_and_on_others(workplace, step):
    lines = (workplace / "output" / step / "log.txt").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 3
    assert records[-1]["rejected"] == records[-1]["skipped_nonfinite"] == 0
    train, val = ([record[key] for record in records] for key in ("train_loss", "val_loss"))
    assert train[-1] < 0.9 * train[0]
    assert val[-1] < val[0]


def test_each_step_trained_the_projection_alone_the_second_from_the_first(workplace):
    paths = [workplace / "output" / step / "checkpoint_last.safetensors" for step in STEPS]
    one, two = map(read_tensors, paths)
    assert one.keys() == two.keys() == {"llama_proj.weight", "llama_proj.bias"}
    assert not one["llama_proj.weight"].equal(two["llama_proj.weight"])
    started_from = read_metadata(paths[1])["config"]["model"]["ckpt"]
    assert Path(started_from).parts[-2:] == paths[0].parts[-2:]


def test_the_checkpoint_converses_about_a_photo_it_was_not_trained_on(workplace, chat):
    photo = next((workplace / "data" / "skin_align" / "val" / "image").iterdir())
    diagnosis = answer(chat, photo, FIRST_PROMPT)
    assert diagnosis.startswith("This could be a skin disease image of")
    assert answer(chat, photo, QUESTIONS[0]).strip()


def test_its_notice_is_true_of_it(chat):
    """The drawn world's notice says that the model has never seen a real photo."""
    assert "real photos" in chat.model.notice
    assert "no clinical use" in chat.model.notice
    assert "drawn" not in chat.model.notice
