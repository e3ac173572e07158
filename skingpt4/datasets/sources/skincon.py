"""SKINCON: 48 clinical concepts of Fitzpatrick17k and DDI photos, for step 1.

Tables: ``annotations_fitzpatrick17k.csv``, ``annotations_ddi.csv`` or both; with
``fitzpatrick17k.csv`` and ``ddi_metadata.csv`` beside them, skin types are known too.
"""

from collections.abc import Iterator

from skingpt4.datasets.records import Record
from skingpt4.datasets.sources.files import SourceFiles, skin_type
from skingpt4.datasets.sources.public import DDI_TONES
from skingpt4.dermatology import CONCEPTS

IMAGE = "ImageID"
REJECTED = "Do not consider this image"
NAMES = tuple(concept.name for concept in CONCEPTS)


def read_skincon(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo; concepts keep the order of the table's columns."""
    files.table(IMAGE, *NAMES)
    types = _skin_types(files)
    for table in files.all_tables(IMAGE, *NAMES):
        columns = [name for name in table.columns if name in NAMES]
        for number, row in enumerate(table.rows):
            concepts = tuple(name for name in columns if row[name] in ("1", "1.0"))
            rejected = row.get(REJECTED) in ("1", "1.0")
            reason = "SKINCON says not to consider it" if rejected else ""
            yield Record(
                place=table.place(number),
                image=files.find(row[IMAGE]),
                source="SKINCON",
                concepts=concepts,
                skin_type=types.get(row[IMAGE], ""),
                skip=reason,
            )


def _skin_types(files: SourceFiles) -> dict[str, str]:
    types = {
        f"{row['md5hash']}.jpg": skin_type(row["fitzpatrick_scale"])
        for table in files.all_tables("md5hash", "fitzpatrick_scale")
        for row in table.rows
    }
    return types | {
        row["DDI_file"]: DDI_TONES.get(row["skin_tone"], "")
        for table in files.all_tables("DDI_file", "skin_tone")
        for row in table.rows
    }
