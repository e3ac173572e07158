"""Reading a run's YAML: defaults of its model type and data sets, the files, then ``--options``."""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from skingpt4.common.errors import ConfigError
from skingpt4.common.files import PACKAGE_ROOT, PROJECT_ROOT
from skingpt4.common.schema import DatasetConfig, ModelConfig, PreprocessConfig, RunConfig

DEFAULTS = PACKAGE_ROOT / "configs"
MODEL_PATHS = ("vit_weights", "q_former_model", "llm_model", "ckpt", "prompt_path")
ARCH_ALIASES = {"mini_gpt4": "minigpt4"}
# MiniGPT-4's first release named its model type otherwise.
MODEL_TYPE_ALIASES = {("minigpt4", "pretrain_vicuna"): "pretrain_vicuna0"}

# Top key of a file that lies over others: their paths, from its own folder.
BASE = "base"

Tree = dict[str, Any]
# Where keys come from, as errors call it, and the keys.
Layer = tuple[str, Tree]


@dataclass
class Config:
    """A whole run, typed: what ``--cfg-path`` and ``--options`` amount to."""

    model: ModelConfig = field(default_factory=ModelConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)  # by registered name
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuse sections that contradict each other.

        Raises:
            ConfigError: With the first contradiction.
        """
        model, run = self.model, self.run
        frozen = {
            key: getattr(model, key) for key in ("freeze_vit", "freeze_qformer", "freeze_llm")
        }
        if run.fsdp and not all(frozen.values()):
            raise ConfigError("run.fsdp trains the projection alone; set model.freeze_* to True")
        if run.cache_features:
            for key in ("freeze_vit", "freeze_qformer"):
                if not frozen[key]:
                    raise ConfigError(
                        f"run.cache_features needs a frozen vision side, but model.{key} is False; "
                        "set one of the two otherwise"
                    )
            for key in ("vit_weights", "q_former_model"):
                if getattr(model, key) == "random":
                    raise ConfigError(
                        "run.cache_features needs the same weights at every start, but "
                        f"model.{key} is 'random'; name a file, or set run.cache_features=False"
                    )

    @classmethod
    def load(
        cls, cfg_path: str | Path | Sequence[str | Path], options: Sequence[str] = ()
    ) -> "Config":
        """Read YAML files over the defaults, and ``a.b=c`` options over all.

        Relative paths are taken from the working folder, else from the project's root.

        Args:
            cfg_path: One file, or several: each lies over those before it. A file may itself name
                the files that it lies over, under ``base``.
            options: Overrides of single keys.

        Raises:
            ConfigError: If a file cannot be read, or any key, type or value is wrong; all
                findings of one layer are listed at once.
        """
        given = [cfg_path] if isinstance(cfg_path, str | Path) else list(cfg_path)
        source, seen = ", ".join(f"'{path}'" for path in given), set[Path]()
        files: list[Layer] = []
        for path in given:
            place = Path(locate(str(path)))
            if not place.is_file():
                raise ConfigError(
                    f"The configuration file '{place.absolute()}' does not exist; check --cfg-path."
                )
            files += _file_layers(place, f"'{path}'", seen)
        for option in options:
            if option.find("=") < 1:
                raise ConfigError(f"--options '{option}' is not of the form key.subkey=value.")
        # A shell drops the quotes of an empty value; without them it would mean null.
        written = [f"{option}''" if option.endswith("=") else option for option in options]
        overrides = cast(Tree, OmegaConf.to_container(OmegaConf.from_dotlist(written)))
        files.append(("--options", _modernise(overrides)))
        # Which defaults apply is for all files and options together to say.
        merged = OmegaConf.merge(*(OmegaConf.create(tree) for _, tree in files))
        chosen = cast(Tree, OmegaConf.to_container(merged))
        layers = [*_default_layers(chosen, source), *files]
        schema = OmegaConf.structured(cls)
        for name, tree in layers:
            unknown = list(_unknown_keys(cls, tree, ""))
            if unknown:
                raise ConfigError(f"In {name}: " + "; ".join(unknown) + ".")
            try:
                schema = OmegaConf.merge(schema, OmegaConf.create(tree))
            except OmegaConfBaseException as error:
                raise ConfigError(f"In {name}, {_explain(error)}.") from None
        config = _to_config(schema, layers, source)
        for key in MODEL_PATHS:
            setattr(config.model, key, locate(getattr(config.model, key)))
        for dataset in config.datasets.values():
            dataset.build_info.storage = locate(dataset.build_info.storage)
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


def _read_yaml(path: Path) -> Tree:
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"'{path}' is not readable YAML: {reason}.") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"'{path}' holds no mapping; its top keys are model, datasets and run.")
    return cast(Tree, tree)


def _file_layers(path: Path, name: str, seen: set[Path]) -> list[Layer]:
    """Return what a file lies over, lowest first, then the file itself.

    Args:
        path: The file.
        name: What errors call it.
        seen: Files read before, which are not read again; those read here are added.
    """
    if path.resolve() in seen:
        return []
    seen.add(path.resolve())
    tree, layers = _read_yaml(path), list[Layer]()
    bases = tree.pop(BASE, [])
    for base in [bases] if isinstance(bases, str) else bases or []:
        below = path.parent / str(base)
        if not below.is_file():
            raise ConfigError(f"In {name}, base '{base}' does not exist beside it; check the path.")
        layers += _file_layers(below, f"'{below}'", seen)
    return [*layers, (name, _modernise(tree))]


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


def _default_layers(chosen: Tree, source: str) -> Iterator[Layer]:
    """Yield the defaults of the chosen model type, then those of each chosen data set."""
    model, datasets = chosen.get("model") or {}, chosen.get("datasets") or {}
    if not isinstance(model, dict) or not isinstance(datasets, dict):
        raise ConfigError(f"In {source}, 'model' and 'datasets' must be mappings.")
    if model.get("model_type"):
        wanted = (model.get("arch", ModelConfig.arch), model["model_type"])
        known = {}
        for path in sorted((DEFAULTS / "models").glob("*.yaml")):
            tree = _read_yaml(path)
            known[tree["model"]["arch"], tree["model"]["model_type"]] = path, tree
        if wanted not in known:
            raise ConfigError(
                f"model.model_type '{wanted[1]}' of arch '{wanted[0]}' in {source} is unknown; "
                f"known are: {', '.join(map('/'.join, known))}."
            )
        path, tree = known[wanted]
        yield str(path.relative_to(PROJECT_ROOT)), tree
    # In the run's order, which the mix of the data sets follows.
    for name in datasets:
        for path in sorted((DEFAULTS / "datasets").rglob("*.yaml")):
            defaults = _read_yaml(path)["datasets"]
            if name in defaults:
                tree = {"datasets": {name: defaults[name]}}
                yield str(path.relative_to(PROJECT_ROOT)), tree


def _to_config(schema: Any, layers: Sequence[Layer], source: str) -> Config:
    """Turn merged keys into dataclasses, whose rules are then checked.

    Raises:
        ConfigError: Naming the last layer that sets one of the keys at fault.
    """
    sections, broken = dict[str, Any](), list[str]()
    # Section by section, so that the broken rules of all are told at once.
    for section in dataclasses.fields(Config):
        try:
            sections[section.name] = OmegaConf.to_object(schema[section.name])
        except ConfigError as error:
            broken.append(str(error))
        except OmegaConfBaseException as error:
            holder = _holder(str(error.full_key), layers, source)
            raise ConfigError(f"In {holder}, {_explain(error)}.") from None
    try:
        if broken:
            raise ConfigError("; ".join(broken))
        return Config(**sections)
    except ConfigError as error:
        raise ConfigError(f"In {_holder(str(error), layers, source)}: {error}.") from None


def _explain(error: OmegaConfBaseException) -> str:
    reason = str(error.msg or error).splitlines()[0].rstrip(".")
    return f"key '{error.full_key}': {reason}"


def _holder(text: str, layers: Sequence[Layer], default: str) -> str:
    """Return the name of the last layer that sets one of the keys that a text names."""
    keys = re.findall(r"\b(?:model|run|datasets|preprocess)(?:\.\w+)+", text)
    for name, tree in reversed(layers):
        for key in keys:
            node: Any = tree
            for part in key.split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if node is not None:
                return name
    return default


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
                nearest = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)[0]
                yield f"unknown key '{prefix}{key}' (did you mean '{prefix}{nearest}'?)"
