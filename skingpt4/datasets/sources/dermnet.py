"""Dermnet's 23 folders, alone or below ``train`` and ``test`` as on Kaggle."""

import re
from collections.abc import Iterator
from pathlib import Path

from skingpt4.common.errors import DatasetError
from skingpt4.datasets.fingerprints import image_files
from skingpt4.datasets.records import SPLITS, Record
from skingpt4.datasets.sources.files import SourceFiles, read_labels

NAMED = re.compile(r"([a-z]+(?:-[a-z]+)*)-\d+", re.IGNORECASE)
"""File names that tell the disease, such as ``psoriasis-guttate-12`` (93 % of them)."""


def read_dermnet(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo in a folder that bears one of Dermnet's 23 names.

    Raises:
        DatasetError: If there is no such folder.
    """
    labels = read_labels("dermnet")
    folders = [
        folder
        for root in files.images
        for folder in sorted(path for path in [root, *root.rglob("*")] if path.is_dir())
        if folder.name in labels.rows
    ]
    if not folders:
        raise DatasetError(
            f"No folder of Dermnet, such as 'Acne and Rosacea Photos', is in "
            f"{', '.join(map(repr, map(str, files.images))) or 'no --images'}; check --images."
        )
    for folder in folders:
        words, disease_class = labels[folder.name]
        for file in image_files(folder):
            yield Record(
                place=f"{folder.name}/{file.name}",
                image=file,
                source="Dermnet",
                label=(_disease(file) if files.disease_names else "") or words,
                disease_class=disease_class,
                split=folder.parent.name if folder.parent.name in SPLITS else "",
            )


def _disease(file: Path) -> str:
    """Return the disease that a file's name tells; empty if it tells none."""
    match = NAMED.fullmatch(file.stem)
    return match[1].lower().replace("-", " ") if match else ""
