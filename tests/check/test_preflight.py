"""``--check``: every fault is named before a weight is read, and a sound set passes."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from skingpt4.check import MISSING, NOTE, OK, WRONG
from skingpt4.check import preflight as preflight_module
from skingpt4.check.preflight import preflight, published
from skingpt4.common.checkpoint import read_tensors, save_tensors
from skingpt4.common.config import Config
from skingpt4.common.files import load_data
from skingpt4.common.schema import BuildInfo, DatasetConfig
from skingpt4.models.key_maps import to_lavis_key
from skingpt4.models.random_llm import ROWS
from tests.conftest import PROJECT
from tests.scripts import run_here

FULL_CONFIGS = sorted(
    path.name
    for path in (PROJECT / "eval_configs").glob("*.yaml")
    if not path.stem.endswith(("tiny", "llama_cpp"))
)
QFORMER_PARTS = ("Qformer.", "query_tokens", "ln_vision.")


@pytest.fixture
def files(make_model, tmp_path):
    """Paths of weight files that fit the model of ``model_config``."""
    model = make_model()
    paths = {
        "vit_weights": tmp_path / "eva.safetensors",
        "q_former_model": tmp_path / "blip2.safetensors",
        "ckpt": tmp_path / "ours.safetensors",
    }
    state = model.state_dict()
    qformer = {to_lavis_key(k): v for k, v in state.items() if k.startswith(QFORMER_PARTS)}
    save_tensors(paths["vit_weights"], model.visual_encoder.state_dict(), {})
    save_tensors(paths["q_former_model"], qformer | {"t5_proj.weight": torch.zeros(4, 16)}, {})
    save_tensors(paths["ckpt"], projection(model), model.record())
    return {key: str(path) for key, path in paths.items()}


def projection(model):
    return {f"llama_proj.{k}": v for k, v in model.llama_proj.state_dict().items()}


@pytest.fixture
def check(model_config, files):
    """Check the sound model with some keys of its section changed."""

    def run(training=False, datasets=None, **changes):
        section = dataclasses.replace(model_config, **{**files, **changes})
        return preflight(Config(model=section, datasets=datasets or {}), "cpu", training)

    return run


def texts(report, part, state):
    return [f.text for f in report.findings if (f.part, f.state) == (part, state)]


def states(report):
    return {finding.state for finding in report.findings}


def test_a_sound_set_is_ready_and_nothing_was_loaded(check, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    report = check()
    assert report.ok, report.table()
    assert states(report) == {OK}
    assert "projections and heads of other models: 1" in texts(report, "Q-Former", OK)[0]
    lines = report.table().splitlines()
    assert lines[-1] == "Ready."
    for part in ("vision tower", "Q-Former", "projection", "language model"):
        assert sum(line.startswith(part) for line in lines) == 2


@pytest.mark.parametrize("key", ["vit_weights", "q_former_model", "ckpt", "llm_model"])
def test_each_missing_file_is_named_and_the_rest_still_checked(check, tmp_path, key):
    report = check(**{key: str(tmp_path / "absent")})
    missing = [f for f in report.findings if f.state == MISSING]
    assert len(missing) == 1
    assert str(tmp_path / "absent") in missing[0].text
    assert f"model.{key}" in missing[0].text
    assert WRONG not in states(report)
    assert not report.ok
    assert report.table().endswith("Not ready: 1 missing, 0 wrong.")


@pytest.mark.parametrize("name", FULL_CONFIGS)
def test_shipped_configs_say_where_their_weights_are_published(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SKINGPT4_WEIGHTS", str(tmp_path))
    report = preflight(Config.load(PROJECT / "eval_configs" / name), "cpu")
    assert not report.ok
    for part in ("vision tower", "Q-Former", "language model", "projection"):
        (text,) = texts(report, part, MISSING)
        assert str(tmp_path) in text
        assert "published at https://" in text or part == "projection"
        assert "https://" in text
    plan = {line.part: line for line in report.plan}
    assert plan["vision tower"].parameters == pytest.approx(986e6, rel=0.01)
    assert plan["language model"].parameters > 12e9


def test_each_published_weight_says_where_and_its_shape_exists():
    rows = load_data("published_weights.yaml")
    for name, row in rows.items():
        assert name == name.lower()
        assert row["place"].startswith("https://")
        assert row["remark"]
        assert set(row) <= {"place", "remark", "llm", "public"}
        assert row.get("llm") in (None, *ROWS)
    assert not published("weights/skingpt4_step1.pth")["public"]
    assert published("/a/Llama-2-13b-chat-hf")["llm"] == "llama-2-13b"
    assert published("weights/unknown.pth") == {}


def test_the_script_shows_the_table_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKINGPT4_WEIGHTS", str(tmp_path))
    config = "eval_configs/skingpt4_eval_llama2_13bchat.yaml"
    assert run_here("demo.py", "--cfg-path", config, "--gpu-id", 0, "--check") == 1
    shown = capsys.readouterr().out
    assert "eva_vit_g.pth" in shown
    assert "KV cache per 1000 tokens" in shown


def test_the_embedded_model_is_ready_and_may_do_without_its_projection(capsys):
    def run(*options):
        return run_here("demo.py", "--check", *options), capsys.readouterr().out

    assert run()[0] == 0
    code, shown = run("--options", "model.ckpt=''")
    assert code == 1
    assert "--allow-untrained" in shown
    code, shown = run("--allow-untrained", "--options", "model.ckpt=''")
    assert code == 0
    assert "starts untrained" in shown


def test_training_is_checked_by_its_script(tmp_path, capsys):
    storage = f"datasets.skin_concept.build_info.storage={tmp_path / 'absent'}"
    config = "train_configs/tiny_stage1_concept.yaml"
    assert run_here("train.py", "--cfg-path", config, "--check", "--options", storage) == 1
    shown = capsys.readouterr().out
    assert "data: skin_concept" in shown
    assert "gradients and AdamW" in shown
    assert shown.endswith("Not ready: 1 missing, 0 wrong.\n")


def test_a_projection_for_another_language_model_is_refused_naming_both(check, files, tmp_path):
    other = {"llama_proj.weight": torch.zeros(48, 16), "llama_proj.bias": torch.zeros(48)}
    save_file(other, tmp_path / "other.safetensors")
    report = check(ckpt=str(tmp_path / "other.safetensors"))
    (text,) = texts(report, "projection", WRONG)
    assert "48 wide" in text
    assert "32 wide" in text
    (note,) = texts(report, "projection", NOTE)
    assert "could not be verified: language model, Q-Former, prompt form" in note


def test_a_language_model_of_the_same_shape_but_other_weights_is_told(check, llm_folder, tmp_path):
    other = tmp_path / "other-llm"
    shutil.copytree(llm_folder, other)
    model = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    model.save_pretrained(other)
    (text,) = texts(check(llm_model=str(other)), "projection", WRONG)
    assert "other token embeddings" in text


def test_a_checkpoint_with_a_language_model_of_its_own_is_not_held_against_the_folders(
    check, files, make_model
):
    """Its embeddings replace the folder's; the record is of those, fine-tuned."""
    model = make_model()
    with torch.no_grad():
        model.llm_model.get_input_embeddings().weight.normal_()
    own = {f"llm_model.{k}": v.clone() for k, v in model.llm_model.state_dict().items()}
    save_tensors(files["ckpt"], projection(model), model.record())
    assert "other token embeddings" in texts(check(), "projection", WRONG)[0]
    save_tensors(files["ckpt"], projection(model) | own, model.record())
    report = check()
    assert report.ok, report.table()


def test_without_a_qformer_its_file_is_not_asked_for(check, files, make_model, tmp_path):
    joined = {"has_qformer": False, "q_former_model": ""}
    model = make_model(**joined)
    save_tensors(files["ckpt"], projection(model), model.record())
    report = check(**joined)
    assert report.ok, report.table()
    assert texts(report, "Q-Former", OK) == ["none: patches are joined by four"]
    assert "Q-Former" not in [line.part for line in report.plan]
    report = check(**joined, ckpt="", vit_weights="random")
    (text,) = texts(report, "weights", MISSING)
    assert text.startswith("no weights for: vision tower, projection;")


def test_a_checkpoint_of_another_prompt_form_is_refused(check):
    (text,) = texts(check(prompt_style="llama2"), "projection", WRONG)
    assert "'skingpt4'" in text
    assert "'llama2'" in text


def change(path, edit):
    tensors = read_tensors(path)
    edit(tensors)
    save_file({k: v.clone() for k, v in tensors.items()}, path)


@pytest.mark.parametrize(
    ("key", "part", "edit", "expected"),
    [
        ("vit_weights", "vision tower", lambda t: t.pop("cls_token"), "1 missing (cls_token)"),
        (
            "vit_weights",
            "vision tower",
            lambda t: t.update(surprise=torch.ones(1)),
            "1 unexpected (",
        ),
        (
            "q_former_model",
            "Q-Former",
            lambda t: t.update(query_tokens=torch.ones(1, 8, 16)),
            "query_tokens 1x8x16 for 1x4x16",
        ),
    ],
)
def test_names_and_shapes_are_compared(check, files, key, part, edit, expected):
    change(files[key], edit)
    (text,) = texts(check(), part, WRONG)
    assert expected in text


def test_damaged_files_are_told(check, files, tmp_path):
    (tmp_path / "eva.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (text,) = texts(check(), "vision tower", WRONG)
    assert "damaged" in text


def test_a_missing_shard_of_the_language_model_is_named(check, llm_folder, tmp_path):
    folder = tmp_path / "sharded"
    shutil.copytree(llm_folder, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert check(llm_model=str(folder)).ok
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    (text,) = texts(check(llm_model=str(folder)), "language model", WRONG)
    assert shard.name in text


def test_a_tokenizer_larger_than_the_embeddings_is_refused(check, llm_folder, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(llm_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] = 300
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (text,) = texts(check(llm_model=str(folder)), "tokenizer", WRONG)
    assert "embeds only 300" in text


def test_a_prompt_form_of_another_family_is_doubted(check):
    report = check(prompt_style="qwen")
    assert any("is no token" in text for text in texts(report, "prompt form", NOTE))
    assert texts(check(prompt_template="no slot"), "prompt form", WRONG)


def test_too_little_memory_is_told_with_a_remedy(check, monkeypatch):
    monkeypatch.setattr(preflight_module, "free_gigabytes", lambda placement: 0.0)
    (text,) = texts(check(), "memory", WRONG)
    assert "model.llm_dtype=bf16" in text


def test_addresses_are_not_fetched(check, monkeypatch):
    report = check(vit_weights="https://localhost:1/eva.safetensors")
    (text,) = texts(report, "vision tower", NOTE)
    assert "fetched when first used" in text
    assert report.ok


def test_quantisation_without_its_library_and_on_a_cpu(check, monkeypatch):
    monkeypatch.setattr(preflight_module, "is_bitsandbytes_available", lambda: False)
    report = check(quantization="nf4")
    assert "skingpt4[quant]" in texts(report, "device", MISSING)[0]
    assert "llama.cpp" in texts(report, "device", NOTE)[0]


def test_random_parts_start_only_where_that_is_asked_for(check):
    untrained = {"vit_weights": "random", "llm_model": "random:tiny", "ckpt": ""}
    (text,) = texts(check(**untrained), "weights", MISSING)
    assert "vision tower, language model, projection;" in text
    report = check(**untrained, allow_untrained=True)
    assert report.ok, report.table()
    assert report.plan
    assert "untrained" in texts(report, "language model", NOTE)[0]


def test_photos_of_another_size_than_the_towers_are_told():
    path = PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml"
    report = preflight(Config.load(path, ["model.image_size=56"]), "cpu")
    (text,) = texts(report, "photos", WRONG)
    assert text.startswith("preprocess.vis_processor.eval: ")
    assert "image_size 112, but the vision tower takes 56" in text


def test_a_tower_of_timms_is_checked_and_planned_like_any_other(check, model_config, tmp_path):
    import timm

    tower = {"vit_model": "timm/efficientnet_lite0", "image_size": None}
    tower |= {"q_former_model": "random", "ckpt": "", "allow_untrained": True}
    save_file(timm.create_model("efficientnet_lite0").state_dict(), tmp_path / "lite0.safetensors")
    report = check(**tower, vit_weights=str(tmp_path / "lite0.safetensors"))
    assert report.ok, report.table()
    (text,) = texts(report, "vision tower", OK)
    assert text.endswith("left out pooling and head: 2")
    (line,) = (line for line in report.plan if line.part == "vision tower")
    assert line.parameters == 3_371_008 + 2 * 1280  # EfficientNet-lite0 without head, and the norm
    (text,) = texts(check(**tower), "vision tower", WRONG)
    assert "does not fit this model" in text
    (text,) = texts(check(vit_model="timm/efficientnet_lite"), "configuration", WRONG)
    assert "did you mean timm/efficientnet_lite" in text
    vis = {"train": {"name": "blip2_image_train", "mean": [0.5, 0.5, 0.5]}}
    other = {"skin_align": DatasetConfig(build_info=BuildInfo(str(tmp_path)), vis_processor=vis)}
    (text,) = texts(check(datasets=other, **tower), "photos", WRONG)
    assert text.startswith("datasets.skin_align.vis_processor.train: ")
    assert "mean" in text


def test_unusable_shapes_are_one_finding(check):
    report = check(vit_model="absent")
    (text,) = texts(report, "configuration", WRONG)
    assert "absent" in text
    assert report.plan == ()


def test_another_engine_is_told_and_its_memory_is_not_ours(check):
    in_process = {line.part: line.gigabytes for line in check().plan}
    report = check(engine="vllm")
    assert report.ok, report.table()
    assert texts(report, "engine", OK) == ["vllm runs the language model"]
    plan = {line.part: line.gigabytes for line in report.plan}
    assert 0 < plan["token embeddings"] < in_process["language model"]
    assert "language model" not in plan
    assert report.cache == 0
    (text,) = texts(check(engine="llama_cpp"), "engine", WRONG)
    assert ".gguf" in text


def test_training_needs_its_data_and_no_checkpoint(check, tmp_path):
    def sets(storage):
        return {"text_dialogue": DatasetConfig("text", BuildInfo(str(storage)))}

    rows = {"annotations": [{"dialogue": [{"question": "Why?", "answer": "Unknown."}]}]}
    (tmp_path / "filter_cap.json").write_text(json.dumps(rows), encoding="utf-8")
    report = check(training=True, datasets=sets(tmp_path), ckpt="")
    assert report.ok, report.table()
    assert texts(report, "data: text_dialogue", OK)[0].endswith(": 1 answers")
    assert report.plan[-1].part == "gradients and AdamW"
    report = check(training=True, datasets=sets(tmp_path / "absent"))
    assert texts(report, "data: text_dialogue", MISSING)
    assert texts(check(training=True), "data", MISSING)
    assert check().ok
