"""The loss on samples that are not trained on, and what the model says about some of them."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import Subset

from skingpt4.common.errors import ConfigError
from skingpt4.common.seeding import derive_seed, seeded
from skingpt4.conversation.chat import Chat
from skingpt4.datasets.builders import VALIDATION, Splits
from skingpt4.datasets.loaders import build_eval_loader
from skingpt4.datasets.shards import ShardDataset
from skingpt4.models.dialogue import FEATURES, IMAGE, shows_photo
from skingpt4.prompts import IMAGE_SLOT

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL import Image

    from skingpt4.common.config import Config
    from skingpt4.datasets.image_text import Sample
    from skingpt4.models.skin_gpt4 import SkinGPT4
    from skingpt4.tasks.image_text_pretrain import ImageTextPretrainTask

# An answer in training is at most this long by default; a greedy one that rambles stops there too.
MAX_NEW_TOKENS = 160


class Validator:
    """Measures the loss on every validation split of a run, each learned token weighing alike.

    Random numbers of its own leave the training as it would be without it.

    Args:
        config: The settled run.
        task: Knows what a batch's loss is.
        accelerator: Shares the samples among the processes.
        datasets: By name and split; those without a validation split are left out.
    """

    def __init__(
        self,
        config: "Config",
        task: "ImageTextPretrainTask",
        accelerator: "Accelerator",
        datasets: Splits,
    ) -> None:
        self.run, self.task, self.accelerator = config.run, task, accelerator
        self.datasets = {
            name: splits[VALIDATION] for name, splits in datasets.items() if VALIDATION in splits
        }
        for name, dataset in self.datasets.items():
            if isinstance(dataset, ShardDataset) and self.run.valid_iters is None:
                raise ConfigError(
                    f"The validation shards of datasets.{name} have no end; set run.valid_iters."
                )

    def __bool__(self) -> bool:
        return bool(self.datasets)

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """Return the mean loss of an answer token over all splits and processes.

        Infinite where there is nothing to validate on.
        """
        accelerator, run = self.accelerator, self.run
        encoder = accelerator.unwrap_model(model).dialogue_encoder
        seed = derive_seed(run.seed, VALIDATION)
        # Without dropout, and with the prompts and shards of last time: losses can be compared.
        model.eval()
        total = torch.zeros(2, dtype=torch.float64)  # sum of losses, number of tokens
        with seeded(run.seed, VALIDATION):
            for dataset in self.datasets.values():
                # This process's part: every nth sample, or shards in an order of its own.
                rank, world = accelerator.process_index, accelerator.num_processes
                if isinstance(dataset, ShardDataset):
                    dataset.resume(rank, positions={}, first=0)
                else:
                    dataset = Subset(dataset, range(rank, len(dataset), world))  # type: ignore[arg-type]
                loader = build_eval_loader(
                    dataset, run.batch_size_eval, run.num_workers, encoder.with_seed(seed)
                )
                for batch in itertools.islice(loader, run.valid_iters):
                    count = self.task.count_targets(batch)
                    batch = send_to_device(batch, accelerator.device)
                    with accelerator.autocast():
                        mean = self.task.train_step(model, batch)
                    total += torch.tensor([mean.item() * count, count], dtype=torch.float64)
        model.train()
        # The GPUs of some vendors know no float64.
        summed = accelerator.reduce(total.float().to(accelerator.device), "sum")
        loss, count = summed.tolist()
        return loss / count if count else math.inf

    @torch.no_grad()
    def generate(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return what the model says, greedily, of the first photos; [] in other processes.

        A model spread over processes cannot answer in one of them: it says nothing.
        """
        if not self.accelerator.is_main_process or self.run.fsdp:
            return []
        unwrapped: SkinGPT4 = self.accelerator.unwrap_model(model)
        unwrapped.eval()
        said: list[dict[str, Any]] = []
        # A processor is needed by none of the samples: their photos are tensors or features.
        chat = Chat(unwrapped, _unused_processor)
        prompts = unwrapped.prompts or [IMAGE_SLOT]
        with seeded(self.run.seed, VALIDATION):
            for name, sample in itertools.islice(self._photos(), self.run.val_generations):
                # The sample's own question, or the first training prompt.
                question, wanted = sample["dialogue"][0]
                if question is None:
                    question = prompts[0].replace(IMAGE_SLOT, "").strip()
                conv, photos = chat.new_conversation(), list[Tensor]()
                if FEATURES in sample:
                    features = sample[FEATURES][None].to(unwrapped.device)  # [1, tokens, Dq]
                    photos.append(unwrapped.project(features))  # [1, tokens, D]
                    conv.add_photo()
                else:
                    chat.upload_img(sample[IMAGE], conv, photos)
                chat.ask(question or "?", conv)
                answer, _ids = chat.answer(conv, photos, max_new_tokens=MAX_NEW_TOKENS)
                said.append(
                    {
                        "dataset": name,
                        "image_id": sample["image_id"],
                        "question": question,
                        "wanted": wanted,
                        "said": answer,
                    }
                )
        unwrapped.train()
        return said

    def _photos(self) -> Iterator[tuple[str, "Sample"]]:
        """Yield the validation samples that have a photo, with their data set's name."""
        for name, dataset in self.datasets.items():
            if isinstance(dataset, ShardDataset):
                dataset.resume(0, positions={}, first=0)
                samples = iter(dataset)
            else:
                samples = (dataset[n] for n in range(len(dataset)))  # type: ignore[arg-type]
            yield from ((name, sample) for sample in samples if shows_photo(sample))


def _unused_processor(_photo: "Image.Image") -> Tensor:
    raise AssertionError("validation photos are processed already")
