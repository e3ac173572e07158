"""Weight files: mapping any of them into memory safely, writing ours atomically."""

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from skingpt4.common.errors import WeightsError
from skingpt4.common.files import write_atomically

METADATA_KEY = "skingpt4"
# A Hugging Face folder holds one of these whole, or shards and ``<name>.index.json``.
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")

# A mapping counts as used memory once read, so it is renewed after this share of the file: small
# enough to stay unseen beside the tensors made from it, large enough to make renewing it cheap.
RENEWALS = 16
SMALLEST_WINDOW = 8 * 2**20

# How files begin that are often kept in a weight file's place.
IMPOSTORS = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the file itself",
    b"<": "it is a web page",
}

Tensors = dict[str, Tensor]


class TensorSource(Mapping[str, Tensor]):
    """The tensors of a file or folder by name, mapped into memory: nothing is read before used.

    A tensor may be shared with the file's mapping: change none in place that was got from here.

    Attributes:
        path: The file or folder.
        shapes: Shape of each tensor by name.
        dtypes: Type of each tensor by name.
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        self._files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self._mapped: dict[Path, Tensors] = {}
        self._given = 0
        for file in files:
            for name, tensor in self._map(file).items():
                self._files[name] = file
                self.shapes[name] = tuple(tensor.shape)
                self.dtypes[name] = tensor.dtype

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor in CPU memory, in the file's own type."""
        file = self._files[name]
        tensor = self._map(file)[name]
        self._given += tensor.nbytes
        if self._given > max(SMALLEST_WINDOW, file.stat().st_size // RENEWALS):
            # A mapping is closed when the last tensor got from it is gone.
            self._mapped = {f: t for f, t in self._mapped.items() if not _is_mappable(f)}
            self._given = 0
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def record(self) -> dict[str, Any]:
        """What we wrote beside the tensors; empty for files of others."""
        return read_metadata(self.path)

    def _map(self, file: Path) -> Tensors:
        if file in self._mapped:
            return self._mapped[file]
        content: Any
        try:
            if file.suffix == ".safetensors":
                content = load_file(file)
            else:
                content = torch.load(
                    file, map_location="cpu", weights_only=True, mmap=_is_mappable(file) or None
                )
        except Exception as error:  # a damaged pickle raises nearly anything
            reason = " ".join(str(error).split())[:160]
            with file.open("rb") as opened:
                start = opened.read(64).lstrip()
            for beginning, impostor in IMPOSTORS.items():
                reason = impostor if start.startswith(beginning) else reason
            raise WeightsError(
                f"The weight file '{file}' is damaged or unsafe ({reason}); fetch it again."
            ) from None
        # How files of training runs wrap them, timm's and OpenCLIP's with the second.
        tree = content
        for wrapping in ("model", "state_dict"):
            tree = tree.get(wrapping, tree) if isinstance(tree, dict) else tree
        if not isinstance(tree, dict) or not all(isinstance(v, Tensor) for v in tree.values()):
            raise WeightsError(
                f"'{file}' does not hold a dictionary of tensors; it is no weight file."
            )
        self._mapped[file] = tree
        return tree


def open_tensors(path: str | Path) -> TensorSource:
    """Open a ``.safetensors`` file, a ``.pth`` or ``.bin``, or a Hugging Face folder.

    A ``.pth`` is read without running any code in it; its ``model`` or ``state_dict`` entry is
    taken where it has one. A folder may be sharded.

    Raises:
        WeightsError: If a file is missing, damaged, or holds anything but tensors.
    """
    place = Path(path)
    if place.is_dir():
        return TensorSource(place, _folder_files(place))
    if not place.is_file():
        raise WeightsError(f"The weight file '{place.absolute()}' does not exist; check the path.")
    return TensorSource(place, [place])


def read_tensors(path: str | Path) -> Tensors:
    """Return all tensors of a file or folder; see :func:`open_tensors`."""
    return dict(open_tensors(path))


def _folder_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's tensors: one, or the shards that its index names."""
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weight_map.values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WeightsError(f"The index '{index}' is damaged; fetch it again.") from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise WeightsError(
                f"The folder '{folder}' lacks {len(missing)} of the {len(names)} files that its "
                f"index names ({', '.join(missing[:4])}); fetch them."
            )
        return [folder / name for name in names]
    expected = " nor ".join(f"{name} (or its index)" for name in FOLDER_FILES)
    raise WeightsError(f"The folder '{folder}' holds neither {expected}; check the path.")


def _is_mappable(file: Path) -> bool:
    """Tell whether a file can be mapped; PyTorch's form before 1.6 has to be read whole."""
    return file.suffix == ".safetensors" or zipfile.is_zipfile(file)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what we recorded beside the tensors; empty for files of others."""
    if Path(path).suffix != ".safetensors":
        return {}
    with safe_open(str(path), framework="pt") as file:
        return cast(dict[str, Any], json.loads((file.metadata() or {}).get(METADATA_KEY, "{}")))


def save_tensors(path: str | Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write tensors and a JSON record as safetensors, atomically."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = {"format": "pt", METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    write_atomically(path, lambda file: save_file(flat, file, record))


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a training state (optimiser, step, random numbers) atomically."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a training state written by :func:`save_state`.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    try:
        return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"The training state '{path}' cannot be read ({reason}).") from None
