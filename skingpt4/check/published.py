"""Where the weights that configurations name are published: data only, nothing is fetched here."""

from dataclasses import dataclass
from pathlib import Path

_LAVIS = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2"

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Published:
    """Where a file or folder is published.

    Attributes:
        place: Its address, or where to ask for it.
        remark: Size, terms, or what to mind.
        llm: For a language model, the row that has its shape (``random:<row>``).
        is_public: Whether anybody can fetch it.
    """

    place: str
    remark: str
    llm: str = ""
    is_public: bool = True

    def __str__(self) -> str:
        """Say it in a phrase."""
        verb = "published at" if self.is_public else "not public; ask at"
        return f"{verb} {self.place} ({self.remark})"


_VICUNA = Published(
    f"{_HUB}/lmsys/vicuna-13b-v1.5",
    f"26 GB; checkpoints trained on Vicuna v0 need {_HUB}/Vision-CAIR/vicuna",
    llm="vicuna-13b",
)

_SKINGPT4 = "https://github.com/JoshuaChou2018/SkinGPT-4"

_MINIGPT4 = Published("https://github.com/Vision-CAIR/MiniGPT-4", "its README links the files")

# By the last component of a path, lower case.
PUBLISHED = {
    "eva_vit_g.pth": Published(f"{_LAVIS}/eva_vit_g.pth", "2.0 GB"),
    "blip2_pretrained_flant5xxl.pth": Published(
        f"{_LAVIS}/blip2_pretrained_flant5xxl.pth", "0.4 GB"
    ),
    "llama-2-13b-chat-hf": Published(
        f"{_HUB}/meta-llama/Llama-2-13b-chat-hf", "26 GB; accept Meta's licence", llm="llama-2-13b"
    ),
    "llama-2-7b-chat-hf": Published(
        f"{_HUB}/meta-llama/Llama-2-7b-chat-hf", "13 GB; accept Meta's licence", llm="llama-2-7b"
    ),
    "vicuna": _VICUNA,
    "vicuna-13b-v1.5": _VICUNA,
    "vicuna-7b": Published(f"{_HUB}/Vision-CAIR/vicuna-7b", "13 GB", llm="vicuna-7b"),
    "falcon-40b-instruct": Published(
        f"{_HUB}/tiiuae/falcon-40b-instruct", "84 GB", llm="falcon-40b"
    ),
    "skingpt_v1.pth": Published(_SKINGPT4, "its README links the file"),
    "pretrained_minigpt4.pth": _MINIGPT4,
    "prerained_minigpt4.pth": _MINIGPT4,
    "prerained_minigpt4_7b.pth": _MINIGPT4,
    "pretrained_minigpt4_llama2_7b.pth": _MINIGPT4,
}


def published(path: str) -> Published | None:
    """Return where the file or folder of this name is published, if that is known."""
    name = Path(path).name.lower()
    if name.startswith("skingpt4_") and name.endswith(".pth"):
        return Published(_SKINGPT4, "its README names the authors", is_public=False)
    return PUBLISHED.get(name)
