"""Reading a run's YAML: defaults of its model type and data sets, the file, then ``--options``."""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from skingpt4.common.errors import ConfigError
from skingpt4.common.schema import DatasetConfig, ModelConfig, PreprocessConfig, RunConfig

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
PROJECT_ROOT = PACKAGE_ROOT.parent
DEFAULTS = PACKAGE_ROOT / "configs"
MODEL_PATHS = ("vit_weights", "q_former_model", "llm_model", "ckpt", "prompt_path")
ARCH_ALIASES = {"mini_gpt4": "minigpt4"}
# MiniGPT-4's first release named its model type otherwise.
MODEL_TYPE_ALIASES = {("minigpt4", "pretrain_vicuna"): "pretrain_vicuna0"}

CHOICES = {
    "vit_precision": ("fp16", "bf16", "fp32", "auto"),
    "llm_dtype": ("fp16", "bf16", "fp32", "auto"),
    "quantization": ("", "int8", "nf4"),
    "device_map": ("", "auto"),
}

Tree = dict[str, Any]


@dataclass
class Config:
    """A whole run, typed: what ``--cfg-path`` and ``--options`` amount to."""

    model: ModelConfig = field(default_factory=ModelConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    run: RunConfig = field(default_factory=RunConfig)

    @classmethod
    def load(cls, cfg_path: str | Path, options: Sequence[str] = ()) -> "Config":
        """Read a YAML file over the defaults, and ``a.b=c`` options over both.

        Relative paths are taken from the working folder, else from the project's root.

        Raises:
            ConfigError: If the file cannot be read, or any key, type or value is wrong; all
                findings of one layer are listed at once.
        """
        source = f"'{cfg_path}'"
        file_tree = _modernise(_read_yaml(_find_config(cfg_path)))
        option_tree = _modernise(_parse_options(options))
        chosen = _merge(file_tree, option_tree)
        layers = [
            *_default_layers(chosen, source),
            (source, file_tree),
            ("--options", option_tree),
        ]
        schema = OmegaConf.structured(cls)
        for name, tree in layers:
            schema = _overlay(schema, tree, name)
        config = _to_object(schema, source)
        _settle(config)
        _check_values(config, source)
        return config

    def to_dict(self) -> Tree:
        """Return the settled run as plain data, to be recorded beside what it made."""
        return dataclasses.asdict(self)


def locate(path: str) -> str:
    """Return a relative path's place: the working folder, else the project's root, else as is."""
    if path.startswith("~"):
        return str(Path(path).expanduser())
    if not path or Path(path).exists():
        return path
    in_project = PROJECT_ROOT / path
    return str(in_project) if in_project.exists() else path


def _find_config(cfg_path: str | Path) -> Path:
    path = Path(locate(str(cfg_path)))
    if not path.is_file():
        raise ConfigError(f"The configuration file '{cfg_path}' does not exist; check --cfg-path.")
    return path


def _read_yaml(path: Path) -> Tree:
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"'{path}' is not readable YAML: {reason}.") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"'{path}' holds no mapping; its top keys are model, datasets and run.")
    return cast(Tree, tree)


def _parse_options(options: Sequence[str]) -> Tree:
    for option in options:
        if option.find("=") < 1:
            raise ConfigError(f"--options '{option}' is not of the form key.subkey=value.")
    # A shell drops the quotes of an empty value; without them it would mean null.
    written = [f"{option}''" if option.endswith("=") else option for option in options]
    return cast(Tree, OmegaConf.to_container(OmegaConf.from_dotlist(written)))


def _modernise(tree: Tree) -> Tree:
    """Replace upstream's earlier names by the present ones, in place."""
    model = tree.get("model")
    if isinstance(model, dict):
        if "llama_model" in model:
            model["llm_model"] = model.pop("llama_model")
        if model.get("arch") in ARCH_ALIASES:
            model["arch"] = ARCH_ALIASES[model["arch"]]
        kind = (model.get("arch"), model.get("model_type"))
        if kind in MODEL_TYPE_ALIASES:
            model["model_type"] = MODEL_TYPE_ALIASES[kind]
    return tree


def _merge(*trees: Tree) -> Tree:
    merged = OmegaConf.merge(*(OmegaConf.create(tree) for tree in trees))
    return cast(Tree, OmegaConf.to_container(merged))


def _default_layers(chosen: Tree, source: str) -> Iterator[tuple[str, Tree]]:
    """Yield the defaults of the chosen model type, then those of each chosen data set."""
    model = chosen.get("model") or {}
    if not isinstance(model, dict) or not isinstance(chosen.get("datasets") or {}, dict):
        raise ConfigError(f"In {source}, 'model' and 'datasets' must be mappings.")
    if model.get("model_type"):
        yield _model_defaults(model, source)
    for name in chosen.get("datasets") or {}:
        yield from _dataset_defaults(name)


def _model_defaults(model: Tree, source: str) -> tuple[str, Tree]:
    arch = model.get("arch", ModelConfig.arch)
    known = []
    for path in sorted((DEFAULTS / "models").glob("*.yaml")):
        tree = _read_yaml(path)
        pair = (tree["model"]["arch"], tree["model"]["model_type"])
        if pair == (arch, model["model_type"]):
            return str(path.relative_to(PROJECT_ROOT)), tree
        known.append("/".join(pair))
    raise ConfigError(
        f"model.model_type '{model['model_type']}' of arch '{arch}' in {source} is unknown; "
        f"known are: {', '.join(known)}."
    )


def _dataset_defaults(name: str) -> Iterator[tuple[str, Tree]]:
    for path in sorted((DEFAULTS / "datasets").rglob("*.yaml")):
        tree = _read_yaml(path)
        if name in tree["datasets"]:
            yield str(path.relative_to(PROJECT_ROOT)), {"datasets": {name: tree["datasets"][name]}}


def _overlay(schema: DictConfig, tree: Tree, source: str) -> DictConfig:
    unknown = list(_unknown_keys(Config, tree, ""))
    if unknown:
        raise ConfigError(f"In {source}: " + "; ".join(unknown) + ".")
    try:
        return cast(DictConfig, OmegaConf.merge(schema, OmegaConf.create(tree)))
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, source)) from None


def _to_object(schema: DictConfig, source: str) -> Config:
    try:
        return cast(Config, OmegaConf.to_object(schema))
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, source)) from None


def _explain(error: OmegaConfBaseException, source: str) -> str:
    reason = str(error.msg or error).splitlines()[0].rstrip(".")
    return f"In {source}, key '{error.full_key}': {reason}."


def _unknown_keys(kind: Any, tree: Any, prefix: str) -> Iterator[str]:
    """Yield a phrase for each key that the dataclass ``kind`` does not know."""
    if not isinstance(tree, Mapping):
        return
    if get_origin(kind) is dict:
        value_kind = get_args(kind)[1]
        for key, value in tree.items():
            yield from _unknown_keys(value_kind, value, f"{prefix}{key}.")
    elif dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        for key, value in tree.items():
            if key in hints:
                yield from _unknown_keys(hints[key], value, f"{prefix}{key}.")
            else:
                yield _unknown_phrase(f"{prefix}{key}", str(key), list(hints), prefix)


def _unknown_phrase(full_key: str, key: str, known: list[str], prefix: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f"unknown key '{full_key}' (did you mean '{prefix}{nearest}'?)"


def _settle(config: Config) -> None:
    """Find the places of relative paths."""
    for name in MODEL_PATHS:
        setattr(config.model, name, locate(getattr(config.model, name)))
    for dataset in config.datasets.values():
        dataset.build_info.storage = locate(dataset.build_info.storage)


def _check_values(config: Config, source: str) -> None:
    """Report every value that is out of range, and every contradiction, at once."""
    run, model = config.run, config.model
    rules = [
        (run.max_epoch >= 1, f"run.max_epoch is {run.max_epoch}, must be 1 or more"),
        (
            run.iters_per_epoch is None or run.iters_per_epoch >= 1,
            f"run.iters_per_epoch is {run.iters_per_epoch}, must be 1 or more, or null",
        ),
        (run.batch_size_train >= 1, f"run.batch_size_train is {run.batch_size_train}, must be ≥ 1"),
        (run.accum_grad_iters >= 1, f"run.accum_grad_iters is {run.accum_grad_iters}, must be ≥ 1"),
        (run.init_lr > 0, f"run.init_lr is {run.init_lr}, must be above 0"),
        (run.min_lr <= run.init_lr, f"run.min_lr {run.min_lr} is above run.init_lr {run.init_lr}"),
        (run.warmup_steps >= 0, f"run.warmup_steps is {run.warmup_steps}, must be ≥ 0"),
        (model.max_txt_len >= 1, f"model.max_txt_len is {model.max_txt_len}, must be ≥ 1"),
        (model.image_size >= 1, f"model.image_size is {model.image_size}, must be ≥ 1"),
        *(
            (value in allowed, f"model.{name} is '{value}', must be one of: {', '.join(allowed)}")
            for name, allowed in CHOICES.items()
            for value in [getattr(model, name)]
        ),
    ]
    broken = [phrase for holds, phrase in rules if not holds]
    if broken:
        raise ConfigError(f"In {source}: " + "; ".join(broken) + ".")
