"""The data part of ``--check``: counts, faults, repeats, answer lengths, leaks between splits.

A data set stops at the first bad row, so that a run does not start on it; here its own reading is
called row by row, and all faults are found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from statistics import median

from transformers import PreTrainedTokenizerBase

from skingpt4.check import MISSING, NOTE, OK, WRONG, Finding, Report, aligned
from skingpt4.common.config import Config, locate
from skingpt4.common.errors import DatasetError, UserError
from skingpt4.common.files import write_atomically
from skingpt4.common.schema import DatasetConfig
from skingpt4.convert.fingerprints import Fingerprint, find_matches, find_repeats, fingerprints
from skingpt4.convert.manifest import ManifestRow, find_manifest, read_manifest
from skingpt4.datasets.builders import BUILDERS, FOLDER, SHARDS, build_dataset
from skingpt4.datasets.image_text import (
    ANNOTATION_FILE,
    IMAGE_FOLDER,
    find_images,
    load_rows,
    parse_row,
)
from skingpt4.datasets.shards import BAD_SAMPLE, expand_shards, image_and_caption, read_shard
from skingpt4.dermatology import CLASSES, CONCEPTS
from skingpt4.labeler import label_text
from skingpt4.prompts import get_prompt_style

# So many samples of a web-scale set are looked at, from its first shard on.
SHARD_SAMPLES = 2_000

# The class of photos whose text names none.
UNNAMED = "none named"

# Names shown of a longer list.
SHOWN = 3

# Characters of the longest bar in a table of counts.
BAR = 30

# Answers tokenised at a time.
BATCH = 1000

# Inches of the figure, and of each bar's row.
WIDTH, ROW_HEIGHT = 9.0, 0.22

# Characters of a name that fit beside the bars.
LONGEST_NAME = 40

# A kind of count, the counts, and all names in the paper's order.
Counts = tuple[str, Counter[str], Sequence[str]]


@dataclass
class Inspection:
    """What is in a split of a data set.

    Attributes:
        storage: Where it lies.
        answers: Every text that is trained on.
        photos: A fingerprint of every photo that is there; it has no dHash if it is unreadable.
        faults: A sentence for each row that cannot be used.
        missing: Names of photos that are not there.
        classes: Photos of each class.
        concepts: Photos of each concept.
        partial: Whether only the first samples were looked at.
    """

    storage: str
    answers: list[str] = field(default_factory=list)
    photos: list[Fingerprint] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    concepts: Counter[str] = field(default_factory=Counter)
    partial: bool = False

    @property
    def unreadable(self) -> list[str]:
        """Names of the photos that cannot be opened."""
        return [photo.name for photo in self.photos if photo.dhash is None]

    def add(self, texts: Mapping[str, list[str]], manifest: Mapping[str, ManifestRow]) -> None:
        """Count classes and concepts, by the manifest where it has the photo, else by its texts."""
        for name, answers in texts.items():
            if row := manifest.get(name):
                self.classes[row.disease_class or UNNAMED] += 1
                self.concepts.update(row.concept_names)
            else:
                labels = label_text(" ".join(answers))
                self.classes[labels.top or UNNAMED] += 1
                self.concepts.update(labels.concepts)

    def counts(self) -> Iterator[Counts]:
        """Yield each kind of count that says something."""
        if set(self.classes) - {UNNAMED}:
            order = [entry.name for entry in CLASSES]
            yield "class", self.classes, [*order, *sorted(set(self.classes) - set(order))]
        if self.concepts:
            yield "concept", self.concepts, [entry.name for entry in CONCEPTS]


def check_data(config: Config, tokenizer: PreTrainedTokenizerBase | None) -> Report:
    """Go through every data set of a run; no weight is needed.

    Args:
        config: The settled run.
        tokenizer: The language model's, to measure answers; None leaves that out.

    Returns:
        Findings, and tables of counts as text.
    """
    findings: list[Finding] = []
    tables: list[str] = []
    if not config.datasets:
        text = "the config names no data set; add one under 'datasets'"
        findings.append(Finding("data", MISSING, text))
    for name, cfg in config.datasets.items():
        try:
            splits = _inspect(name, cfg, config.run.seed)
        except UserError as error:
            # A path that does not exist is something to fetch; anything else is to be mended.
            state = WRONG if Path(cfg.build_info.storage).exists() else MISSING
            findings.append(Finding(f"data: {name}", state, str(error)))
            continue
        for part, found in splits.items():
            findings += _findings(part, found, config.run.reject_share)
            if tokenizer is not None:
                findings.append(_measure_answers(part, found.answers, config, tokenizer))
            for what, counts, order in found.counts():
                tables.append(_bars(f"{part}: {what}", counts, order))
        # A validation photo that is trained on makes the loss look better than it is.
        if len(splits) > 1:
            (_, training), (part, validation) = splits.items()
            matches = find_matches(validation.photos, training.photos)
            if pairs := [f"{match.left} ~ {match.right}" for match in matches]:
                text = f"photos that are trained on as well: {_few(pairs)}"
                findings.append(Finding(part, NOTE, text))
        # Both splits in one figure, so that they can be compared.
        panels = {
            f"{part}, {what}": [(label, counts[label]) for label in order]
            for part, found in splits.items()
            for what, counts, order in found.counts()
        }
        if panels:
            path = Path(config.run.output_dir) / f"data_{name}.png"
            drawn = plot_balance(panels, path)
            text = f"drawn in {path}" if drawn else "not drawn: pip install 'skingpt4[eval]'"
            findings.append(Finding(f"data: {name}", OK if drawn else NOTE, text))
    return Report(findings, tables=tables)


def _inspect(name: str, cfg: DatasetConfig, seed: int) -> dict[str, Inspection]:
    """Go through the splits of a data set, by the name of each in the report."""
    places = {f"data: {name}": cfg.build_info.storage}
    if cfg.build_info.validation:
        places[f"data: {name} (val)"] = locate(cfg.build_info.validation)
    if name not in BUILDERS:
        build_dataset(name, cfg)  # raises, and lists those that exist
    builder = BUILDERS[name]
    found = {}
    for part, storage in places.items():
        if builder is SHARDS:
            found[part] = inspect_shards(storage, name)
        else:  # a folder set, or its text-only sibling
            found[part] = inspect_folder(Path(storage), name, with_images=builder is FOLDER)
    # What is left is wrong in the config itself; with bad rows it would say the first one again.
    if not any(split.faults or split.missing for split in found.values()):
        build_dataset(name, cfg, seed)
    return found


def inspect_folder(storage: Path, label: str, with_images: bool = True) -> Inspection:
    """Go through a folder set: every row, every photo; ``label`` names the progress bar.

    Raises:
        DatasetError: If there is no annotation file, or it is malformed.
    """
    path = storage / ANNOTATION_FILE
    found = Inspection(str(storage))
    answers: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(load_rows(path)):
        try:
            annotation = parse_row(row, f"Annotation {number} of '{path}'", with_images)
            # A photo may have several rows; all of them tell its class.
            answers[str(annotation.image_id)] += [answer for _, answer in annotation.turns]
        except DatasetError as error:
            found.faults.append(str(error))
    found.answers = list(chain.from_iterable(answers.values()))
    if with_images:
        # Without the folder all are missing, and the rows are told all the same.
        files: dict[str, Path] = {}
        found.missing = list(answers)
        if (storage / IMAGE_FOLDER).is_dir():
            files, found.missing = find_images(storage, list(answers))
        found.photos = fingerprints(list(files.values()), list(files), label)
        manifest = find_manifest(storage)
        found.add(answers, {row.image: row for row in read_manifest(manifest)} if manifest else {})
    return found


def inspect_shards(storage: str, label: str) -> Inspection:
    """Go through the first samples of WebDataset shards, tar files with brace ranges.

    Raises:
        DatasetError: If the string is malformed or a shard is missing.
    """
    found = Inspection(storage)

    def note(error: Exception) -> bool:
        found.faults.append(f"A shard is damaged ({error}).")
        return True  # the next file, or the next shard, may be sound

    samples = chain.from_iterable(read_shard(shard, note) for shard in expand_shards(storage))
    photos: dict[str, bytes] = {}
    captions: dict[str, list[str]] = {}
    for raw in islice(samples, SHARD_SAMPLES):
        name = str(raw["__key__"])
        try:
            photos[name], caption = image_and_caption(raw)
            captions[name] = [caption]
        except BAD_SAMPLE as error:
            found.faults.append(f"Sample '{name}' lacks an image or a caption ({error!r}).")
    # One more sample, to tell a set that ends here from one that goes on.
    found.partial = next(samples, None) is not None
    found.answers = list(chain.from_iterable(captions.values()))
    found.photos = fingerprints([photos[name] for name in captions], list(captions), label)
    found.add(captions, {})
    return found


def _findings(part: str, found: Inspection, reject_share: float) -> Iterator[Finding]:
    """Yield what is to be said of one split."""
    photos = f", {len(found.photos)} photos" if found.photos else ""
    only = "; only these were looked at" if found.partial else ""
    yield Finding(part, OK, f"{found.storage}: {len(found.answers)} answers{photos}{only}")
    if found.missing:
        yield Finding(part, WRONG, f"photos that are not there: {_few(found.missing)}")
    if found.faults:
        text = f"{len(found.faults)} rows cannot be used, the first: {found.faults[0]}"
        yield Finding(part, WRONG, text)
    # A run draws another sample in place of one that it cannot read, up to a share.
    if names := found.unreadable:
        state = WRONG if len(names) / len(found.photos) > reject_share else NOTE
        text = f"photos that cannot be read: {_few(names)}; run.reject_share allows "
        yield Finding(part, state, f"{text}{reject_share:.0%}")
    # A photo that is there twice counts twice in training, with whatever two captions.
    repeats = find_repeats([photo for photo in found.photos if photo.dhash is not None])
    if same := [f"{match.left} = {match.right}" for match in repeats if match.same_file]:
        yield Finding(part, NOTE, f"photos that are there twice: {_few(same)}")
    if alike := [f"{match.left} ~ {match.right}" for match in repeats if not match.same_file]:
        yield Finding(part, NOTE, f"photos that look like another: {_few(alike)}")
    # A class of one photo beside one of thousands is hardly learnt.
    if known := [count for name, count in found.classes.items() if name != UNNAMED]:
        text = f"{len(known)} classes; the largest has {max(known) / min(known):.3g} times the "
        yield Finding(part, OK, f"{text}photos of the smallest")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"


def _measure_answers(
    part: str, answers: Sequence[str], config: Config, tokenizer: PreTrainedTokenizerBase
) -> Finding:
    """Measure answers with their end symbol, as training writes them."""
    model = config.model
    style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
    # A cut answer still ends with its end symbol, but says less than it was meant to.
    texts = [style.answer_prefix + answer + style.end_sym for answer in answers]
    lengths = [
        len(ids)
        for start in range(0, len(texts), BATCH)
        for ids in tokenizer(texts[start : start + BATCH], add_special_tokens=False).input_ids
    ]
    if not lengths:
        return Finding(part, WRONG, "there is no answer to learn")
    long = sum(length > model.max_txt_len for length in lengths)
    text = (
        f"answers have {min(lengths)} to {max(lengths)} tokens, median {median(lengths):g}; "
        f"{long} of {len(lengths)} are longer than model.max_txt_len = {model.max_txt_len}"
    )
    cut = "they are cut before their end symbol, which upstream would cut off"
    return Finding(part, NOTE, f"{text}: {cut}") if long else Finding(part, OK, text)


def _bars(title: str, counts: Counter[str], order: Sequence[str]) -> str:
    """Lay counts out as a table with bars, and say which names have none."""
    longest = max(counts.values())
    rows = [(title, "photos", "")]
    for name in order:
        if counts[name]:
            rows.append((name, str(counts[name]), "#" * round(BAR * counts[name] / longest)))
    # What a model is never shown, it will not name.
    absent = ", ".join(name for name in order if not counts[name])
    return aligned(rows, right=(1,)) + (f"\nnone of: {absent}" if absent else "")


def plot_balance(panels: Mapping[str, Sequence[tuple[str, int]]], path: Path) -> bool:
    """Draw one panel of bars for each kind of count.

    Args:
        panels: By title, names with their numbers of photos.
        path: PNG file to write.

    Returns:
        Whether it was drawn; False where matplotlib is not installed.
    """
    # Not pyplot, which would keep figures and look for a screen.
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [len(table) for table in panels.values()]
    height = ROW_HEIGHT * sum(rows) + len(rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for axis, (title, table) in zip(axes, panels.items(), strict=True):
        # What the paper adds to a class's name in brackets would not fit.
        names = [name.partition(" (")[0][:LONGEST_NAME] for name, _ in table]
        bars = axis.barh(names, [count for _, count in table])
        axis.bar_label(bars, padding=2, fontsize=8)
        axis.margins(x=0.08, y=0.01)
        axis.invert_yaxis()  # the first name on top
        axis.set(title=title, xlabel="photos")
        axis.tick_params(labelsize=8)
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda file: canvas.print_png(str(file)))
    return True
