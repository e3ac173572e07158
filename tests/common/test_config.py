"""Config: overlays, paths, and one clear error for each mistake."""

import itertools
import re

import pytest
from omegaconf import OmegaConf

from skingpt4.common.config import Config, locate
from skingpt4.common.errors import ConfigError
from tests.conftest import PROJECT

MINIGPT4_STAGE2 = """
model:
  arch: mini_gpt4
  model_type: pretrain_vicuna0
  max_txt_len: 160
  end_sym: "###"
  prompt_path: "prompts/alignment.txt"
  prompt_template: '###Human: {} ###Assistant: '
  ckpt: '/path/to/stage1/checkpoint/'
datasets:
  cc_sbu_align:
    batch_size: 12
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 224
    text_processor:
      train:
        name: "blip_caption"
run:
  task: image_text_pretrain
  lr_sched: "linear_warmup_cosine_lr"
  init_lr: 3e-5
  min_lr: 1e-5
  warmup_lr: 1e-6
  weight_decay: 0.05
  max_epoch: 5
  iters_per_epoch: 200
  num_workers: 4
  warmup_steps: 200
  seed: 42
  output_dir: "output/minigpt4_stage2_finetune"
  amp: True
  resume_ckpt_path: null
  evaluate: False
  train_splits: ["train"]
  device: "cuda"
  world_size: 1
  dist_url: "env://"
  distributed: True
  wandb_log: True
  job_name: minigpt4_finetune
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_minigpt4_yaml_loads_unchanged(write):
    config = Config.load(write(MINIGPT4_STAGE2))
    assert config.run.init_lr == 3e-5
    assert config.model.arch == "minigpt4"
    assert config.datasets["cc_sbu_align"].batch_size == 12
    assert config.datasets["cc_sbu_align"].build_info.storage.endswith("cc_sbu_align")


def test_layers_overlay_in_order(write):
    path = write("model: {model_type: tiny, num_query_token: 8}\nrun: {seed: 1}\n")
    config = Config.load(path, ["run.seed=2", "run.iters_per_epoch=7"])
    assert (config.model.image_size, config.model.num_query_token) == (112, 8)
    assert (config.run.seed, config.run.iters_per_epoch) == (2, 7)


def test_an_option_changes_the_model_type_and_its_defaults(write):
    path = write("model: {model_type: pretrain_vicuna}\n")
    assert Config.load(path).model.vit_model == "eva_clip_g"
    assert Config.load(path, ["model.model_type=tiny"]).model.vit_model == "eva_tiny"


def test_llama_model_is_another_name_of_llm_model(write):
    path = write("model: {model_type: pretrain_vicuna, llama_model: some/vicuna}\n")
    assert Config.load(path).model.llm_model == "some/vicuna"


def test_environment_variables_are_read(write, monkeypatch):
    monkeypatch.setenv("MY_OUTPUT", "elsewhere")
    config = Config.load(write("run: {output_dir: '${oc.env:MY_OUTPUT}/x'}\n"))
    assert config.run.output_dir == "elsewhere/x"


def test_weights_and_data_are_looked_for_where_the_environment_says(monkeypatch, write):
    path = PROJECT / "eval_configs" / "skingpt4_eval_falcon40b.yaml"
    assert Config.load(path).model.vit_weights == "weights/eva_vit_g.pth"
    monkeypatch.setenv("SKINGPT4_WEIGHTS", "elsewhere")
    monkeypatch.setenv("SKINGPT4_DATA", "far/away")
    model = Config.load(path).model
    assert model.vit_weights == "elsewhere/eva_vit_g.pth"
    assert model.llm_model == "elsewhere/falcon-40b-instruct"
    assert model.ckpt.startswith("elsewhere/")
    config = Config.load(write("datasets: {skin_align: {}}\n"))
    assert config.datasets["skin_align"].build_info.storage == "far/away/skin_align"


def test_an_option_can_empty_a_key(write):
    path = write("model: {ckpt: some.pth}\n")
    assert Config.load(path, ["model.ckpt="]).model.ckpt == ""


def test_the_home_folder_and_remote_names(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ["model.ckpt=~/my.pth", "model.vit_weights=https://a.org/b.pth", "model.llm_model=a/b"]
    model = Config.load(write("run: {}\n"), names).model
    assert model.ckpt == str(tmp_path / "my.pth")
    assert (model.vit_weights, model.llm_model) == ("https://a.org/b.pth", "a/b")


def test_minigpt4s_first_names_mean_the_present_ones(write):
    text = "model: {arch: mini_gpt4, model_type: pretrain_vicuna, llama_model: v}\n"
    model = Config.load(write(text)).model
    assert (model.arch, model.model_type, model.llm_model) == ("minigpt4", "pretrain_vicuna0", "v")
    assert Config.load(write("model: {model_type: pretrain_vicuna}\n")).model.arch == "skin_gpt4"
    model = Config.load(write("model: {arch: minigpt4, model_type: pretrain_llama2}\n")).model
    assert (model.has_qformer, model.prompt_style) == (False, "llama2")


def test_relative_paths_are_found_in_the_project_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("prompts/alignment.txt") == str(PROJECT / "prompts" / "alignment.txt")
    assert locate("no/such/file") == "no/such/file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: {freeze_vitt: True}\nrun: {lr: 1}\n",
            r"unknown key 'model.freeze_vitt' \(did you mean 'model.freeze_vit'\?\); "
            r"unknown key 'run.lr' \(did you mean 'run\.",
        ),
        ("run: {max_epoch: many}\n", r"run.max_epoch.*'many'.*Integer"),
        ("run: {max_epoch: 0, init_lr: 0}\n", r"max_epoch is 0.*; run.init_lr is 0.0"),
        ("run: {min_lr: 1, init_lr: 0.1}\n", r"run.min_lr 1.0 is above run.init_lr 0.1"),
        ("model: {vit_precision: int8}\n", r"'int8', must be one of: fp16, bf16, fp32, auto"),
        (
            "model: {quantization: nf8, device_map: all, llm_dtype: half}\n",
            r"llm_dtype is 'half'.*quantization is 'nf8'.*int8, nf4; model.device_map is 'all'",
        ),
        ("model: {model_type: none_such}\n", r"'none_such' of arch 'skin_gpt4'.*skin_gpt4/tiny"),
        ("datasets: {x: {build_info: {path: y}}}\n", r"datasets.x.build_info.path"),
        ("run: {output_dir: '${oc.env:UNSET_VARIABLE}'}\n", r"UNSET_VARIABLE"),
        ("- a list\n", r"holds no mapping"),
        ("model: [1]\n", r"must be mappings"),
        ("model: {a: b: c}\n", r"is not readable YAML"),
    ],
)
def test_each_mistake_is_one_sentence(write, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config.load(write(text))
    assert "run.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files_and_options(write, tmp_path):
    with pytest.raises(ConfigError, match=r"absent.yaml' does not exist; check --cfg-path"):
        Config.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"'run.seed' is not of the form"):
        Config.load(write("run: {}\n"), ["run.seed"])
    with pytest.raises(ConfigError, match=r"'=1' is not of the form"):
        Config.load(write("run: {}\n"), ["=1"])
    with pytest.raises(ConfigError, match=r"In --options: unknown key 'run.sed'"):
        Config.load(write("run: {}\n"), ["run.sed=1"])


SHIPPED = sorted([*PROJECT.glob("train_configs/*.yaml"), *PROJECT.glob("eval_configs/*.yaml")])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_config_loads_and_names_its_own_command(path):
    config = Config.load(path)
    assert config.to_dict()["run"]["task"] == "image_text_pretrain"
    command = path.relative_to(PROJECT).as_posix()
    assert f"--cfg-path {command}" in head_of(path)


def head_of(path):
    """Return the comments that a file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


@pytest.fixture
def layered(tmp_path):
    """Files that lie over each other, in folders of their own."""
    texts = {
        "models/tiny.yaml": "model: {model_type: tiny, max_txt_len: 80}\n",
        "steps/shared.yaml": "run: {seed: 1, max_epoch: 2}\n",
        "steps/one.yaml": "base: shared.yaml\nrun: {max_epoch: 3, init_lr: 1.0e-3}\n",
        "run.yaml": "base: [models/tiny.yaml, steps/one.yaml]\nrun: {init_lr: 2.0e-3}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_file_lies_over_the_bases_that_it_names(layered):
    config = Config.load(layered / "run.yaml", ["model.max_txt_len=90"])
    run = config.run
    assert (run.seed, run.max_epoch, run.init_lr) == (1, 3, 2e-3)
    assert (config.model.image_size, config.model.max_txt_len) == (112, 90)


def test_several_files_lie_over_each_other_in_order(layered):
    names = ["models/tiny.yaml", "steps/one.yaml", "run.yaml"]
    together = Config.load([layered / name for name in names])
    assert together == Config.load(layered / "run.yaml")
    # What a file named before is not read again over it.
    reverse = Config.load([layered / "run.yaml", layered / "steps" / "shared.yaml"])
    assert reverse == together


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {sed: 1}\n", r"In '.*steps/shared.yaml': unknown key 'run.sed'"),
        ("run: {max_epoch: many}\n", r"In '.*shared.yaml', key 'run.max_epoch'"),
        ("run: {warmup_steps: -1}\n", r"In '.*shared.yaml': run.warmup_steps is -1, must be ≥ 0\."),
        ("run: {output_dir: '${oc.env:UNSET_VARIABLE}'}\n", r"In '.*shared.yaml', .*UNSET"),
        ("base: absent.yaml\n", r"In '.*shared.yaml', base 'absent.yaml' does not exist"),
        ("base: one.yaml\nrun: {min_lr: 1}\n", r"In '.*run.yaml': run.min_lr 1.0 is above run.in"),
    ],
)
def test_errors_name_the_file_that_holds_the_key(layered, text, message):
    (layered / "steps" / "shared.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        Config.load(layered / "run.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "run: {fsdp: True}\nmodel: {freeze_vit: False}\n",
            r"run\.fsdp trains the projection alone",
        ),
        ("run: {precision: half}\n", r"precision is 'half', but must be one of: fp32, fp16, bf16"),
        ("run: {cache_features: True, cache_crops: 0}\n", r"run.cache_crops is 0; it must be 1"),
    ],
)
def test_keys_that_contradict_each_other(write, text, message):
    with pytest.raises(ConfigError, match=message):
        Config.load(write(text))


def test_every_overlay_of_training_is_used():
    folder = PROJECT / "train_configs"
    used = set()
    for path in folder.rglob("*.yaml"):
        bases = OmegaConf.load(path).get("base", [])
        used |= {path.parent / name for name in ([bases] if isinstance(bases, str) else bases)}
    assert {path for path in folder.rglob("*.yaml") if path.parent != folder} <= used


def test_every_key_is_documented_beside_its_field():
    """By a comment behind it or in the lines above; groups share the comment that heads them."""
    source = (PROJECT / "skingpt4" / "common" / "schema.py").read_text(encoding="utf-8")
    is_told = False
    for line in source.splitlines():
        if re.match(r"    \w+: .* = ", line):
            assert "#" in line or is_told, line
        is_told = (is_told and bool(line.strip())) or line.strip().startswith("#")
