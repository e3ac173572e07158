"""The data part of ``--check``: counts, faults, repeats, answer lengths, leaks between splits."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from transformers import PreTrainedTokenizerBase

from skingpt4.check.inspection import UNNAMED, Inspection, inspect_folder, inspect_shards
from skingpt4.check.report import MISSING, NOTE, OK, WRONG, Finding, aligned
from skingpt4.common.config import Config, locate
from skingpt4.common.errors import UserError
from skingpt4.common.files import write_atomically
from skingpt4.common.schema import DatasetConfig
from skingpt4.convert.fingerprints import Match, find_matches
from skingpt4.datasets.builders import BUILDERS, FOLDER, SHARDS, build_dataset
from skingpt4.dermatology import CLASSES, CONCEPTS
from skingpt4.prompts import get_prompt_style

Counts = Sequence[tuple[str, int]]

WIDTH, ROW_HEIGHT = 9.0, 0.22
"""Inches of the figure, and of each bar's row."""

LONGEST_NAME = 40
"""Characters of a name that fit beside the bars."""


def plot_balance(counts: Mapping[str, Counts], path: Path) -> bool:
    """Draw one panel of bars for each kind of count.

    Args:
        counts: By panel's title, names with their numbers of photos.
        path: PNG file to write.

    Returns:
        Whether it was drawn; False where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [len(table) for table in counts.values()]
    height = ROW_HEIGHT * sum(rows) + len(rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for axis, (title, table) in zip(axes, counts.items(), strict=True):
        bars = axis.barh([_short(name) for name, _ in table], [n for _, n in table])
        axis.bar_label(bars, padding=2, fontsize=8)
        axis.margins(x=0.08, y=0.01)
        axis.invert_yaxis()
        axis.set(title=title, xlabel="photos")
        axis.tick_params(labelsize=8)
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda file: canvas.print_png(str(file)))
    return True


def _short(name: str) -> str:
    """Leave out what the paper adds to a class's name in brackets."""
    return name.partition(" (")[0][:LONGEST_NAME]


SHOWN = 3

BAR = 30
"""Characters of the longest bar in a table of counts."""

BATCH = 1000
"""Answers tokenised at a time."""


@dataclass(frozen=True)
class DataReport:
    """Findings, and tables of counts as text."""

    findings: Sequence[Finding]
    tables: Sequence[str]


def check_data(config: Config, tokenizer: PreTrainedTokenizerBase | None) -> DataReport:
    """Go through every data set of a run; no weight is needed.

    Args:
        config: The settled run.
        tokenizer: The language model's, to measure answers; None leaves that out.
    """
    findings: list[Finding] = []
    tables: list[str] = []
    if not config.datasets:
        text = "the config names no data set; add one under 'datasets'"
        findings.append(Finding("data", MISSING, text))
    for name, cfg in config.datasets.items():
        try:
            splits = _inspect(name, cfg, config)
        except UserError as error:
            state = WRONG if Path(cfg.build_info.storage).exists() else MISSING
            findings.append(Finding(f"data: {name}", state, str(error)))
            continue
        for part, found in splits.items():
            findings += _findings(part, found, config, tokenizer)
            tables += _tables(part, found)
        findings += _leak(list(splits.items()))
        findings += _plot(name, splits, Path(config.run.output_dir))
    return DataReport(findings, tables)


def _inspect(name: str, cfg: DatasetConfig, config: Config) -> dict[str, Inspection]:
    """Go through the splits of a data set; the reader is tried only where nothing is at fault."""
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
        else:
            found[part] = inspect_folder(Path(storage), name, with_images=builder is FOLDER)
    if not any(split.faults or split.missing for split in found.values()):
        build_dataset(name, cfg, config.run.seed)
    return found


def _findings(
    part: str, found: Inspection, config: Config, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[Finding]:
    """Yield what is to be said of one split."""
    photos = f", {len(found.photos)} photos" if found.photos else ""
    only = "; only these were looked at" if found.partial else ""
    yield Finding(part, OK, f"{found.storage}: {len(found.answers)} answers{photos}{only}")
    if found.missing:
        yield Finding(part, WRONG, f"photos that are not there: {_few(found.missing)}")
    if found.faults:
        text = f"{len(found.faults)} rows cannot be used, the first: {found.faults[0]}"
        yield Finding(part, WRONG, text)
    yield from _unreadable(part, found, config.run.reject_share)
    yield from _repeats(part, found.repeats())
    yield from _balance(part, found.classes)
    if tokenizer is not None:
        yield _lengths(part, found.answers, config, tokenizer)


def _unreadable(part: str, found: Inspection, budget: float) -> Iterator[Finding]:
    names = found.unreadable
    if names:
        share = len(names) / len(found.photos)
        text = f"photos that cannot be read: {_few(names)}; run.reject_share allows {budget:.0%}"
        yield Finding(part, WRONG if share > budget else NOTE, text)


def _repeats(part: str, matches: Sequence[Match]) -> Iterator[Finding]:
    same = [f"{match.left} = {match.right}" for match in matches if match.same_file]
    alike = [f"{match.left} ~ {match.right}" for match in matches if not match.same_file]
    if same:
        yield Finding(part, NOTE, f"photos that are there twice: {_few(same)}")
    if alike:
        yield Finding(part, NOTE, f"photos that look like another: {_few(alike)}")


def _balance(part: str, classes: Counter[str]) -> Iterator[Finding]:
    known = [count for name, count in classes.items() if name != UNNAMED]
    if known:
        text = f"{len(known)} classes; the largest has {max(known) / min(known):.3g} times the "
        yield Finding(part, OK, f"{text}photos of the smallest")


def _lengths(
    part: str, answers: Sequence[str], config: Config, tokenizer: PreTrainedTokenizerBase
) -> Finding:
    """Measure answers with their end symbol, as training writes them."""
    model = config.model
    style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
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


def _leak(splits: Sequence[tuple[str, Inspection]]) -> Iterator[Finding]:
    """Tell whether validation photos are trained on."""
    if len(splits) < 2:
        return
    (_, training), (part, validation) = splits
    pairs = [f"{m.left} ~ {m.right}" for m in find_matches(validation.photos, training.photos)]
    if pairs:
        yield Finding(part, NOTE, f"photos that are trained on as well: {_few(pairs)}")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"


def _counts(found: Inspection) -> Iterator[tuple[str, Counter[str], Sequence[str]]]:
    """Yield each kind of count that says something, in the paper's order."""
    if set(found.classes) - {UNNAMED}:
        order = [entry.name for entry in CLASSES]
        yield "class", found.classes, [*order, *sorted(set(found.classes) - set(order))]
    if found.concepts:
        yield "concept", found.concepts, [entry.name for entry in CONCEPTS]


def _tables(part: str, found: Inspection) -> Iterator[str]:
    for what, counts, order in _counts(found):
        longest = max(counts.values())
        rows = [(f"{part}: {what}", "photos", "")]
        rows += [
            (name, str(counts[name]), "#" * round(BAR * counts[name] / longest))
            for name in order
            if counts[name]
        ]
        absent = ", ".join(name for name in order if not counts[name])
        yield aligned(rows, right=(1,)) + (f"\nnone of: {absent}" if absent else "")


def _plot(name: str, splits: dict[str, Inspection], folder: Path) -> Iterator[Finding]:
    """Draw the counts of all splits, where matplotlib is installed."""
    counts = {
        f"{part}, {what}": [(label, table[label]) for label in order]
        for part, found in splits.items()
        for what, table, order in _counts(found)
    }
    if counts:
        path = folder / f"data_{name}.png"
        drawn = plot_balance(counts, path)
        text = f"drawn in {path}" if drawn else "not drawn: pip install 'skingpt4[eval]'"
        yield Finding(f"data: {name}", OK if drawn else NOTE, text)
