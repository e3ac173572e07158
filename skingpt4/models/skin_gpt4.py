"""SkinGPT-4: a vision tower, a Q-Former, one linear projection, a language model.

With ``has_qformer: False`` patches joined by four take the Q-Former's place. How the parts are
filled from files stands in :mod:`skingpt4.models.loading`.

Shapes: B photos or dialogues, P prefix tokens (EVA: 1) and N patches of width C, Q photo tokens
(32) of width Dq, T positions of the language model's width D.
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.common.schema import ModelConfig
from skingpt4.models.compatibility import describe_parts
from skingpt4.models.device import choose_placement
from skingpt4.models.dialogue import FEATURES, IMAGE, DialogueEncoder, answer_loss, shows_photo
from skingpt4.models.external_llm import IN_PROCESS, check_engine, is_external
from skingpt4.models.llm import build_meta_llm, context_length, load_tokenizer
from skingpt4.models.loading import load
from skingpt4.models.qformer import (
    PATCHES_A_TOKEN,
    build_qformer,
    build_query_tokens,
    join_patches,
    joined_tokens,
)
from skingpt4.models.vision import Float32LayerNorm, build_vision_tower, photo_form
from skingpt4.prompts import get_prompt_style, load_prompts

logger = logging.getLogger(__name__)


@registry.register_model("minigpt4")
@registry.register_model("skin_gpt4")
class SkinGPT4(nn.Module):
    """The whole model; every width is read from its parts.

    Args:
        config: The settled ``model`` section.
        llm_model: A causal LM; its width is the projection's output.
        llm_tokenizer: The tokenizer that belongs to it.
        vit_dtype: Of the vision tower's matrices; all else of the vision side is float32.

    Attributes:
        photo: What the vision tower takes of a photo.
        image_tokens: How many language model inputs one photo becomes (Q).
        context_length: How many tokens the language model can attend to.
        untrained: Names of the parts that hold random numbers, once the model is loaded.

    Raises:
        ConfigError: If the section contradicts itself.
    """

    def __init__(
        self,
        config: ModelConfig,
        llm_model: PreTrainedModel,
        llm_tokenizer: PreTrainedTokenizerBase,
        vit_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config
        self.vit_dtype = vit_dtype
        self.photo = photo_form(config)
        self.visual_encoder = build_vision_tower(  # [B, 3, H, W] -> [B, P + N, C]
            config.vit_model,
            self.photo["image_size"],
            config.drop_path_rate,
            vit_dtype,
            config.use_grad_checkpoint,
        )
        width = self.visual_encoder.embed_dim  # C
        self.ln_vision = Float32LayerNorm(width)
        if config.has_qformer:
            self.Qformer = build_qformer(config.qformer, width)
            self.query_tokens = build_query_tokens(config.num_query_token, self.Qformer)
            self.image_tokens, width = config.num_query_token, self.Qformer.config.hidden_size
        else:
            self.image_tokens = joined_tokens(self.visual_encoder.num_patches)
            width *= PATCHES_A_TOKEN
        llm_width = cast(nn.Embedding, llm_model.get_input_embeddings()).embedding_dim
        self.llama_proj = nn.Linear(width, llm_width)  # [B, Q, Dq] -> [B, Q, D]
        self.llm_model = llm_model
        self.llm_tokenizer = llm_tokenizer
        self.context_length = context_length(llm_model)
        self.untrained: list[str] = []

        # One written form for training and for chat, with the config's changes.
        self.prompt_style = get_prompt_style(
            config.prompt_style, config.prompt_template, config.end_sym
        )
        self.end_sym = self.prompt_style.end_sym
        self.prompts = load_prompts(config.prompt_path) if config.prompt_path else []
        self.dialogue_encoder = DialogueEncoder(
            llm_tokenizer, self.prompt_style, self.prompts, self.image_tokens, config.max_txt_len
        )

    @classmethod
    def skeleton(cls, config: ModelConfig, vit_dtype: torch.dtype = torch.float32) -> "SkinGPT4":
        """Build the model on the meta device: all shapes, no weights.

        Raises:
            ConfigError: If the section contradicts itself.
            WeightsError: If the language model's configuration or tokenizer cannot be read.
        """
        # Whether files fit, and how much memory they take, is told from this within seconds.
        tokenizer = load_tokenizer(config.llm_model)
        llm = build_meta_llm(config.llm_model)
        with torch.device("meta"):
            model = cls(config, llm, tokenizer, vit_dtype)
        model.freeze()
        return model

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        device: str | torch.device = "cpu",
        with_tower: bool = True,
        with_llm: bool = True,
    ) -> "SkinGPT4":
        """Build the model on a device, fill it from its files and freeze what the config freezes.

        Args:
            config: The settled ``model`` section.
            device: Where the model stands.
            with_tower: Load the vision tower; without it, photos must come as features.
            with_llm: Load the language model; without it, photos can be encoded and no more.

        Raises:
            ConfigError: If the section contradicts itself.
            WeightsError: If a file is missing, damaged or does not fit.
        """
        check_engine(config)
        placement = choose_placement(config, device)
        model = cls.skeleton(config, placement.vit_dtype)
        load(model, placement, with_tower, with_llm)
        model.freeze()
        return model

    def freeze(self) -> None:
        """Freeze what the config freezes: no gradients, and evaluation mode whatever comes."""
        for part in self.frozen_parts().values():
            part.requires_grad_(False)
        # A parameter and no module: the queries go with the Q-Former.
        if self.config.has_qformer:
            self.query_tokens.requires_grad_(not self.config.freeze_qformer)
        self.train(self.training)
        if self.device.type != "meta":  # a skeleton is not trained: nothing to tell
            trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
            total = sum(p.numel() for p in self.parameters())
            frozen = ", ".join(self.frozen_parts()) or "nothing"
            logger.info("Frozen: %s; trainable: %d of %d parameters", frozen, trainable, total)

    def frozen_parts(self) -> dict[str, nn.Module]:
        """Return the parts that the config keeps as they are, by name."""
        parts: dict[str, nn.Module] = {}
        if self.config.freeze_vit:
            parts |= {"visual_encoder": self.visual_encoder, "ln_vision": self.ln_vision}
        if self.config.freeze_qformer and self.config.has_qformer:
            parts["Qformer"] = self.Qformer
        if self.config.freeze_llm:
            parts["llm_model"] = self.llm_model
        return parts

    def train(self, mode: bool = True) -> "SkinGPT4":
        """Switch the trained parts to training mode; frozen parts always stay in evaluation."""
        super().train(mode)
        # Dropout and stochastic depth would act in a frozen part as well.
        for part in self.frozen_parts().values():
            part.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the projection, and so the prompt, lives."""
        return self.llama_proj.weight.device

    @property
    def notice(self) -> str:
        """What to show wherever the model speaks; empty for nothing."""
        if not self.untrained:
            return self.config.notice
        parts = ", ".join(self.untrained)
        return f"{self.config.notice} Untrained: {parts}. Answers mean nothing.".strip()

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint of this model says about the parts it belongs to."""
        return describe_parts(self)

    def encode_patches(self, image: Tensor) -> Tensor:
        """Return the normed patch features ``[B, P + N, C]`` of photos ``[B, 3, H, W]``."""
        # In half precision the matrix products alone are half: the residual stream and all norms
        # are float32, as in upstream.
        half = self.vit_dtype != torch.float32
        precision = torch.autocast(self.device.type, self.vit_dtype) if half else nullcontext()
        with precision:
            features = self.visual_encoder(image.to(self.ln_vision.weight))  # [B, P + N, C]
        return cast(Tensor, self.ln_vision(features))

    def encode_query(self, image: Tensor) -> Tensor:
        """Return what is projected for photos ``[B, 3, H, W]``: ``[B, Q, Dq]``.

        These are the Q-Former's outputs, or joined patches where there is none.
        """
        patches = self.encode_patches(image)  # [B, P + N, C]
        if not self.config.has_qformer:
            return join_patches(patches, self.visual_encoder.num_prefix_tokens)  # [B, N / 4, 4 * C]
        # Every photo has all its patches: nothing is masked.
        everywhere = torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device)
        output = self.Qformer(
            query_embeds=self.query_tokens.expand(len(patches), -1, -1),  # [B, Q, Dq]
            encoder_hidden_states=patches,
            encoder_attention_mask=everywhere,  # [B, P + N]
        )
        return cast(Tensor, output.last_hidden_state)  # [B, Q, Dq]

    def project(self, features: Tensor) -> Tensor:
        """Return features ``[B, Q, Dq]`` as language model inputs ``[B, Q, D]``."""
        return cast(Tensor, self.llama_proj(features.to(self.llama_proj.weight)))

    def encode_img(self, image: Tensor) -> Tensor:
        """Encode photos ``[B, 3, H, W]`` as language model inputs ``[B, Q, D]``."""
        return self.project(self.encode_query(image))

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: ids ``[...]`` to ``[..., D]``.

        Raises:
            ConfigError: If the engine looks them up itself and they are not loaded.
        """
        table = cast(nn.Embedding, self.llm_model.get_input_embeddings())
        if table.weight.is_meta and is_external(self.config):
            raise ConfigError(
                f"The token embeddings of '{self.config.llm_model}' are not loaded, because the "
                f"engine '{self.config.engine}' looks them up itself; set "
                f"model.engine={IN_PROCESS} and model.llm_model to a Hugging Face folder."
            )
        return cast(Tensor, table(ids.to(self.device)))

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the mean next-token loss on answer tokens.

        Args:
            samples: What :class:`~skingpt4.models.dialogue.DialogueEncoder` makes of B texts, with
                ``image [B, 3, H, W]``, or ``features [B, Q, Dq]`` as :meth:`encode_query` gives
                them; neither in text-only sets. Texts that no loader has encoded are encoded here.

        Raises:
            ConfigError: If another program runs the language model.
            DatasetError: If a text-only sample has no question.
        """
        if is_external(self.config):
            raise ConfigError(
                f"model.engine '{self.config.engine}' answers only; set model.engine={IN_PROCESS} "
                "to train."
            )
        batch = samples if "labels" in samples else {**samples, **self.dialogue_encoder(samples)}
        embeds = self.embed_tokens(batch["input_ids"])  # [B, T, D]
        if shows_photo(batch):
            is_stored = FEATURES in batch
            images = self.project(batch[FEATURES]) if is_stored else self.encode_img(batch[IMAGE])
            slots = batch["image_mask"].to(self.device)  # [B, T]
            # A prompt may show its one photo several times.
            times = slots.sum(dim=1) // self.image_tokens  # [B]
            shown = images.repeat_interleave(times, dim=0)  # [sum of times, Q, D]
            embeds = embeds.masked_scatter(rearrange(slots, "b t -> b t 1"), shown.to(embeds.dtype))
        mask, labels = (batch[key].to(self.device) for key in ("attention_mask", "labels"))
        return {"loss": answer_loss(self.llm_model, embeds, mask, labels)}
