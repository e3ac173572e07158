"""The typed schema of a run: every key that a YAML may hold, its default, and what it means.

Names and meanings are MiniGPT-4's and SkinGPT-4's; a key that only we have is marked "(ours)".
Rules that hold whatever the file says stand in each section's ``__post_init__``.
"""

from dataclasses import dataclass, field
from typing import Any

from skingpt4.common.errors import ConfigError

PRECISIONS = ("fp16", "bf16", "fp32", "auto")
RUN_PRECISIONS = ("fp32", "fp16", "bf16")


def _require(*rules: tuple[bool, str]) -> None:
    """Raise one ``ConfigError`` for all rules that do not hold; each begins with its full key."""
    broken = [rule for holds, rule in rules if not holds]
    if broken:
        raise ConfigError("; ".join(broken))


@dataclass
class ModelConfig:
    """Section ``model``: which parts, from which files, and what is frozen."""

    arch: str = "skin_gpt4"  # registered model name
    model_type: str = ""  # selects the defaults file in skingpt4/configs/models
    # Pixels a side that the vision tower takes; null for the tower's own size (224 of EVA's).
    image_size: int | None = None

    # The vision tower.
    drop_path_rate: float = 0.0  # stochastic depth, while it learns
    use_grad_checkpoint: bool = False  # recompute its activations in the backward pass
    # fp16, bf16, fp32, or auto for what suits the device; on a CPU upstream's fp16 means auto.
    vit_precision: str = "fp16"
    vit_model: str = "eva_clip_g"  # row of EVA's shapes, or "timm/" and any tower of timm's (ours)
    vit_weights: str = ""  # the tower's file, or "random" for an untrained one (ours)
    freeze_vit: bool = True  # ln_vision included

    # The Q-Former.
    has_qformer: bool = True  # False joins patches by four, as MiniGPT-4 does on Llama-2
    qformer: str = "blip2"  # row of its shapes (ours)
    q_former_model: str = ""  # LAVIS file, or "random"
    freeze_qformer: bool = True  # query tokens included
    num_query_token: int = 32  # what a photo becomes

    # The language model. A Hugging Face causal LM: folder, id, or "random:<row>" for an untrained
    # one; or a GGUF file, which llama_cpp reads as it is; for others it is written out once, in the
    # cache. Upstream's llama_model is read too.
    llm_model: str = ""
    llm_dtype: str = "auto"  # as vit_precision (ours)
    quantization: str = ""  # int8 or nf4, on a GPU; empty for none (ours)
    device_map: str = ""  # auto spreads it over all GPUs; empty keeps it on one (ours)
    freeze_llm: bool = True  # (ours; upstream always does)
    low_resource: bool = False  # upstream's name for quantization: int8

    # What runs it in a conversation.
    engine: str = "transformers"  # in this process; llama_cpp (a GGUF file); vllm (a server) (ours)
    # Compile the decoding step of engine transformers, on a GPU: the first answers take a minute
    # longer, and single answers are given one after the other (ours).
    compile: bool = False
    engine_url: str = "http://127.0.0.1:8000"  # the server of engine vllm (ours)
    # Let engine_url be a public address: photos (as embeddings) and questions go there (ours).
    allow_public_engine: bool = False

    ckpt: str = ""  # checkpoint laid over the parts, with llama_proj at least
    allow_untrained: bool = False  # start without it; answers mean nothing (ours)

    # The written form.
    prompt: str = ""  # read from upstream's files, without effect
    prompt_style: str = "skingpt4"  # row of the conversation's written forms (ours)
    prompt_path: str = ""  # file of training prompts, one a line, with <ImageHere>
    prompt_template: str = ""  # what a training prompt is set into, such as '###Human: {} …'
    max_txt_len: int = 160  # longest answer in training, in tokens, end symbol included
    end_sym: str = ""  # what ends an answer; empty for the prompt style's own
    notice: str = ""  # sentence shown wherever the model speaks (ours)
    # Whether it understands English only: the page then says so to who asks in Chinese (ours).
    english_only: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: Naming every broken rule.
        """
        choices = {
            "vit_precision": PRECISIONS,
            "llm_dtype": PRECISIONS,
            "quantization": ("", "int8", "nf4"),
            "device_map": ("", "auto"),
        }
        _require(
            (self.max_txt_len >= 1, f"model.max_txt_len is {self.max_txt_len}, must be ≥ 1"),
            (
                self.image_size is None or self.image_size >= 1,
                f"model.image_size is {self.image_size}, must be ≥ 1, or null",
            ),
            *(
                (value in known, f"model.{name} is '{value}', must be one of: {', '.join(known)}")
                for name, known in choices.items()
                for value in [getattr(self, name)]
            ),
        )


@dataclass
class PreprocessConfig:
    """Section ``preprocess``: processors by split, ``{train: {name: …}, eval: {…}}``."""

    vis_processor: dict[str, Any] = field(default_factory=dict)  # of photos
    text_processor: dict[str, Any] = field(default_factory=dict)  # of captions


@dataclass
class BuildInfo:
    """Where a data set lies: a folder, or a brace-expanded string of shards."""

    storage: str = ""  # what is trained on
    validation: str = ""  # what the loss is also measured on; empty for nothing (ours)


@dataclass
class DatasetConfig:
    """One entry of section ``datasets``, under its registered name."""

    data_type: str = "images"  # or "text" for the sets without photos (ours)
    build_info: BuildInfo = field(default_factory=BuildInfo)  # where it lies
    vis_processor: dict[str, Any] = field(default_factory=dict)  # by split, as in preprocess
    text_processor: dict[str, Any] = field(default_factory=dict)  # likewise
    sample_ratio: float | None = None  # weight in the mix; given for all data sets or none
    batch_size: int | None = None  # samples a micro-batch; null for run.batch_size_train


@dataclass
class RunConfig:
    """Section ``run``: the training loop."""

    task: str = "image_text_pretrain"  # registered name of what a step is
    runner: str = "runner_base"  # registered name of the loop

    # Learning rate and optimiser (AdamW).
    lr_sched: str = "linear_warmup_cosine_lr"  # registered name of the schedule
    init_lr: float = 1e-4  # the highest, after warm-up
    min_lr: float = 1e-5  # at the end
    warmup_lr: float = 1e-6  # at the first step
    warmup_steps: int = 0  # optimiser steps from warmup_lr to init_lr
    upstream_warmup: bool = False  # warm up in every epoch, as upstream does (ours)
    lr_decay_rate: float = 0.9  # an epoch, of linear_warmup_step_lr
    weight_decay: float = 0.05  # not of biases and norms
    beta2: float = 0.999  # decay of the second moment
    max_grad_norm: float | None = None  # longer gradients are cut to it; null for none (ours)

    # Length and batches.
    max_epoch: int = 1  # one validation, checkpoint and line of log.txt each
    iters_per_epoch: int | None = None  # optimiser steps; null means one pass over the data
    batch_size_train: int = 2  # samples a micro-batch and process
    batch_size_eval: int = 2  # of a validation
    accum_grad_iters: int = 1  # micro-batches an optimiser step; every learned token weighs alike
    group_by_length: bool = False  # answers of like length in one batch: little is padded (ours)
    num_workers: int = 4  # loading processes of each data set
    train_splits: list[str] = field(default_factory=lambda: ["train"])  # of each data set
    reject_share: float = 0.05  # share of the samples drawn that may be unusable (ours)
    max_nonfinite: int = 3  # so many steps in a row without a finite loss end the run (ours)
    seed: int = 42  # of the order, augmentations, prompts and dropout

    # How it computes.
    device: str = "cuda"  # accelerate uses what is there; cpu forces the CPU
    amp: bool = False  # upstream's word for precision: fp16 on a GPU
    # fp32, fp16 (with loss scaling, on a GPU) or bf16 of what is computed; empty lets amp decide
    # (ours).
    precision: str = ""
    fsdp: bool = False  # spread the parameters over all GPUs, for an LLM larger than one (ours)
    # Compute the LLM's activations again in the backward pass instead of keeping them: less memory,
    # about a third more time (ours).
    checkpoint_llm: bool = False

    # Encode every photo once, before training; the vision tower is then not loaded (ours).
    cache_features: bool = False
    cache_crops: int = 4  # augmented crops kept of each photo, 48 KiB each at full size (ours)
    cache_dir: str = "output/features"  # a changed photo, weight or setting makes new ones (ours)

    # What it leaves, and going on.
    output_dir: str = "output"  # checkpoints, state, logs and curves
    log_freq: int = 50  # optimiser steps between two points of the curves
    save_iters: int | None = None  # steps between checkpoints within an epoch; null for none (ours)
    # Folder or file of a run to continue; auto continues the one in output_dir if there is any.
    resume_ckpt_path: str | None = None
    resume_changed: bool = False  # continue although config or data have changed (ours)
    valid_iters: int | None = None  # batches of a validation; null means all, shards need it (ours)
    val_generations: int = 4  # validation samples that the model answers after each epoch (ours)
    tensorboard: bool = True  # write its files, where it is installed (ours)
    wandb_log: bool = False  # report to Weights & Biases, which gets the config and the curves
    job_name: str = ""  # the run's name there

    # Read from upstream's files, without effect: accelerate launch and torchrun settle the three.
    world_size: int = 1
    dist_url: str = "env://"
    distributed: bool = False
    evaluate: bool = False  # likewise; evaluation is a script of its own

    def __post_init__(self) -> None:
        """Refuse values out of range, and those that contradict each other.

        Raises:
            ConfigError: Naming every broken rule.
        """
        iters, precisions = self.iters_per_epoch, ", ".join(RUN_PRECISIONS)
        least = {"batch_size_train": 1, "accum_grad_iters": 1, "warmup_steps": 0}
        _require(
            (self.max_epoch >= 1, f"run.max_epoch is {self.max_epoch}, must be 1 or more"),
            (
                iters is None or iters >= 1,
                f"run.iters_per_epoch is {iters}, must be 1 or more, or null",
            ),
            *(
                (value >= limit, f"run.{name} is {value}, must be ≥ {limit}")
                for name, limit in least.items()
                for value in [getattr(self, name)]
            ),
            (self.init_lr > 0, f"run.init_lr is {self.init_lr}, must be above 0"),
            (
                self.min_lr <= self.init_lr,
                f"run.min_lr {self.min_lr} is above run.init_lr {self.init_lr}",
            ),
            (
                self.precision in ("", *RUN_PRECISIONS),
                f"run.precision is '{self.precision}', but must be one of: {precisions}",
            ),
            (
                self.cache_crops >= 1 or not self.cache_features,
                f"run.cache_crops is {self.cache_crops}; it must be 1 or more",
            ),
        )
