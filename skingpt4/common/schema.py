"""The typed schema of a run: every key that a YAML may hold, with its default.

Names and meanings are MiniGPT-4's and SkinGPT-4's; keys of ours are marked so.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelConfig:
    """Section ``model``: which parts, from which files, and what is frozen.

    Attributes:
        arch: Registered model name.
        model_type: Selects the defaults file.
        vit_model: Row of the vision tower's shape.
        vit_weights: EVA file; ``random`` builds it untrained (ours).
        has_qformer: False joins patches by four instead, as MiniGPT-4 does on Llama-2.
        qformer: Row of the Q-Former's shape (ours).
        q_former_model: LAVIS file; ``random`` builds it untrained.
        llm_model: Hugging Face causal LM: folder, id, or ``random:<row>`` for an untrained one;
            upstream's ``llama_model`` is read too.
        vit_precision: ``fp16``, ``bf16``, ``fp32``, or ``auto`` for what suits the device; on a
            CPU upstream's ``fp16`` means ``auto``.
        llm_dtype: The same choice for the LLM (ours).
        quantization: ``int8`` or ``nf4`` for the LLM on a GPU; empty for none (ours).
        low_resource: Upstream's name for ``quantization: int8``.
        device_map: ``auto`` spreads the LLM over all GPUs; empty keeps it on one (ours).
        allow_untrained: Start without the projection's checkpoint (ours).
        freeze_llm: Keep the LLM as it is (ours; upstream always does).
        engine: What runs the LLM in a conversation: ``transformers`` in this process,
            ``llama_cpp`` (a GGUF file) or ``vllm`` (a server) (ours).
        compile: Compile the decoding step of engine ``transformers``, on a GPU: the first answers
            take a minute longer, and single answers are given one after the other (ours).
        engine_url: Address of the server of engine ``vllm`` (ours).
        allow_public_engine: Let ``engine_url`` be no loopback or private address: photos, as
            embeddings, and questions are sent there (ours).
        ckpt: Checkpoint laid over the parts, with ``llama_proj`` at least.
        prompt_style: Row of the conversation's written form (ours).
        prompt_path: File of training prompts.
        max_txt_len: Longest answer in tokens, end symbol included.
        notice: Sentence shown wherever the model speaks (ours).

    Read from upstream's files and without effect so far: ``prompt``.
    """

    arch: str = "skin_gpt4"
    model_type: str = ""
    image_size: int = 224
    drop_path_rate: float = 0.0
    use_grad_checkpoint: bool = False
    vit_precision: str = "fp16"
    vit_model: str = "eva_clip_g"
    vit_weights: str = ""
    freeze_vit: bool = True
    has_qformer: bool = True
    qformer: str = "blip2"
    q_former_model: str = ""
    freeze_qformer: bool = True
    num_query_token: int = 32
    llm_model: str = ""
    llm_dtype: str = "auto"
    quantization: str = ""
    device_map: str = ""
    freeze_llm: bool = True
    engine: str = "transformers"
    compile: bool = False
    engine_url: str = "http://127.0.0.1:8000"
    allow_public_engine: bool = False
    low_resource: bool = False
    ckpt: str = ""
    allow_untrained: bool = False
    prompt: str = ""
    prompt_style: str = "skingpt4"
    prompt_path: str = ""
    prompt_template: str = ""
    max_txt_len: int = 160
    end_sym: str = ""
    notice: str = ""


@dataclass
class PreprocessConfig:
    """Section ``preprocess``: processors by split, ``{train: {name: …}, eval: {…}}``."""

    vis_processor: dict[str, Any] = field(default_factory=dict)
    text_processor: dict[str, Any] = field(default_factory=dict)


@dataclass
class BuildInfo:
    """Where a data set lies: a folder, or a brace-expanded string of shards.

    Attributes:
        storage: What is trained on.
        validation: What the loss is also measured on, in the same form; empty for nothing (ours).
    """

    storage: str = ""
    validation: str = ""


@dataclass
class DatasetConfig:
    """One entry of section ``datasets``."""

    data_type: str = "images"
    build_info: BuildInfo = field(default_factory=BuildInfo)
    vis_processor: dict[str, Any] = field(default_factory=dict)
    text_processor: dict[str, Any] = field(default_factory=dict)
    sample_ratio: float | None = None
    batch_size: int | None = None


@dataclass
class RunConfig:
    """Section ``run``: the training loop.

    Attributes:
        iters_per_epoch: Optimiser steps an epoch; ``null`` means one pass over the data.
        batch_size_train: Samples a micro-batch and process.
        accum_grad_iters: Micro-batches an optimiser step; every learned token weighs alike.
        max_grad_norm: Gradient clipping; ``null`` for none (ours).
        upstream_warmup: Warm up anew in each epoch, as upstream does (ours).
        amp: Upstream's word for ``precision: fp16`` on a GPU.
        precision: ``fp32``, ``fp16`` (with loss scaling, on a GPU) or ``bf16`` for what is
            computed; empty lets ``amp`` decide (ours).
        fsdp: Spread the parameters over all GPUs, for a language model larger than one (ours).
        checkpoint_llm: Compute the language model's activations again in the backward pass
            instead of keeping them: less memory, about a third more time (ours).
        log_freq: Optimiser steps between two points of the curves.
        save_iters: Optimiser steps between checkpoints, beside that of every epoch's end;
            ``null`` for none (ours).
        resume_ckpt_path: Folder or file of a run to continue; ``auto`` continues the one in
            ``output_dir`` if there is any.
        resume_changed: Continue although the config or the data set has changed (ours).
        reject_share: Share of the samples drawn that may be unusable (ours).
        max_nonfinite: So many steps in a row without a finite loss end the run (ours).
        valid_iters: Batches of a validation; ``null`` means all, shards need a number (ours).
        val_generations: Validation samples that the model answers after each epoch (ours).
        tensorboard: Write TensorBoard's files, where it is installed (ours).
        cache_features: Encode every photo once, before training, and train on what the frozen
            vision side made of it; the vision tower is then not loaded (ours).
        cache_crops: Augmented crops kept of each photo, each of 48 KiB at full size (ours).
        cache_dir: Where they are kept; a changed photo, weight or setting makes new ones (ours).
        group_by_length: Put answers of like length in one batch, so that little is padded; the
            batches still come in random order (ours).
        wandb_log: Report to Weights & Biases; it sends the config and the curves there.
        job_name: The run's name there.
        device: Where to run; accelerate uses what is there, ``cpu`` forces the CPU.

    Read from upstream's files and without effect: ``evaluate``, and ``world_size``, ``dist_url``
    and ``distributed``, which ``accelerate launch`` and ``torchrun`` settle.
    """

    task: str = "image_text_pretrain"
    runner: str = "runner_base"
    lr_sched: str = "linear_warmup_cosine_lr"
    init_lr: float = 1e-4
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_steps: int = 0
    upstream_warmup: bool = False
    lr_decay_rate: float = 0.9
    weight_decay: float = 0.05
    beta2: float = 0.999
    max_grad_norm: float | None = None
    max_epoch: int = 1
    iters_per_epoch: int | None = None
    batch_size_train: int = 2
    batch_size_eval: int = 2
    accum_grad_iters: int = 1
    num_workers: int = 4
    log_freq: int = 50
    seed: int = 42
    output_dir: str = "output"
    amp: bool = False
    precision: str = ""
    fsdp: bool = False
    checkpoint_llm: bool = False
    save_iters: int | None = None
    resume_ckpt_path: str | None = None
    resume_changed: bool = False
    reject_share: float = 0.05
    max_nonfinite: int = 3
    valid_iters: int | None = None
    val_generations: int = 4
    tensorboard: bool = True
    cache_features: bool = False
    cache_crops: int = 4
    cache_dir: str = "output/features"
    group_by_length: bool = False
    evaluate: bool = False
    train_splits: list[str] = field(default_factory=lambda: ["train"])
    device: str = "cuda"
    world_size: int = 1
    dist_url: str = "env://"
    distributed: bool = False
    wandb_log: bool = False
    job_name: str = ""
