"""Convert a data set: python dataset/convert.py skincon --table A.csv --images DIR --output OUT."""

import argparse
import os
import sys
from pathlib import Path

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.convert.convert import FORMS, ConvertOptions, convert
from skingpt4.convert.manifest import REPORT_NAME
from skingpt4.convert.records import STEP_TEMPLATES, CaptionTemplate
from skingpt4.convert.sources import SOURCES
from skingpt4.convert.sources.lookup import SourceFiles

DEFAULTS = ConvertOptions(CaptionTemplate(STEP_TEMPLATES[2]))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    sources = "\n".join(f"  {name:15} {source.about}" for name, source in SOURCES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n\nsources:\n{sources}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", choices=SOURCES, metavar="SOURCE", help="one of the above")
    parser.add_argument("--output", type=Path, required=True, help="folder for the set")
    add = parser.add_argument
    add("--images", type=Path, nargs="+", default=[], metavar="DIR", help="folders of photos")
    add("--table", type=Path, nargs="+", default=[], metavar="CSV", help="the set's tables")
    add("--columns", nargs="+", default=[], metavar="OURS=THEIRS", help="columns of your own table")
    add("--disease-names", action="store_true", help="Dermnet: take diseases from file names")
    add("--keep-others", action="store_true", help="keep what is outside the 15 classes")
    add("--exclude", type=Path, nargs="+", default=[], metavar="PLACE",
        help="case lists, manifests or folders of photos that must not be trained on")  # fmt: skip
    # What is written, and how.
    add("--step", type=int, choices=STEP_TEMPLATES, help="whose captions; default: the source's")
    add("--template", help="caption with {label}, {class} or {concepts} instead of the step's")
    add("--val-share", type=float, default=DEFAULTS.val_share, help="share for validation")
    add("--seed", type=int, default=DEFAULTS.seed, help="decides which (default %(default)s)")
    add("--max-side", type=int, default=DEFAULTS.max_side, help="pixels (default %(default)s)")
    add("--form", choices=FORMS, default=DEFAULTS.form, help="default: %(default)s")
    add("--shard-size", type=int, default=DEFAULTS.shard_size, help="default: %(default)s")
    add("--workers", type=int, default=os.cpu_count() or DEFAULTS.workers, help="threads")
    add("--overwrite", action="store_true", help="replace an earlier conversion")
    return parser.parse_args()


def main() -> None:
    """Read the source, write the set, show its report."""
    args = parse_args()
    setup_logger()
    source = SOURCES[args.source]
    columns = dict(pair.partition("=")[::2] for pair in args.columns)
    files = SourceFiles(args.images, args.table, columns, args.disease_names)
    options = ConvertOptions(
        template=CaptionTemplate(args.template or STEP_TEMPLATES[args.step or source.step]),
        classified=source.classified,
        keep_others=args.keep_others,
        max_side=args.max_side,
        val_share=args.val_share,
        seed=args.seed,
        form=args.form,
        shard_size=args.shard_size,
        exclude=args.exclude,
        workers=args.workers,
        overwrite=args.overwrite,
    )
    convert(source.read(files), args.output, options)
    sys.stdout.write((args.output / REPORT_NAME).read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_script(main)
