"""Draw the synthetic skin world: python dataset/make_synthetic.py --output output/synthetic."""

import argparse
from dataclasses import fields
from pathlib import Path

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.synthetic.sets import WorldOptions, write_contact_sheet, write_examples, write_world

HELP = {
    "seed": "seed of the world",
    "foundation": "images of step 0",
    "questions": "text-only questions of step 0",
    "dialogues": "text-only conversations of step 0",
    "concept": "images of step 1",
    "diagnosis": "images of step 2",
    "cases_per_class": "held-out cases of each class",
    "size": "image width and height in pixels",
    "workers": "processes that draw",
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for the sets and held-out cases")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier world there")
    for option in fields(WorldOptions):
        flag = "--" + option.name.replace("_", "-")
        if option.name in HELP:
            text = f"{HELP[option.name]} (default {option.default})"
            parser.add_argument(flag, type=int, default=option.default, help=text)
    parser.add_argument(
        "--paper-balance",
        action="store_true",
        help="classes as unequal as in the paper, instead of equally frequent",
    )
    parser.add_argument("--contact-sheet", type=Path, help="also draw a labelled overview there")
    parser.add_argument("--examples", type=Path, help="also draw six larger photos in this folder")
    args = parser.parse_args()
    if not (args.output or args.contact_sheet or args.examples):
        parser.error("nothing to do: give --output, --contact-sheet or --examples")
    return args


def main() -> None:
    """Write what was asked for."""
    args = parse_args()
    setup_logger()
    options = WorldOptions(
        **{field.name: getattr(args, field.name) for field in fields(WorldOptions)}
    )
    if args.output:
        write_world(args.output, options, args.overwrite)
    if args.contact_sheet:
        write_contact_sheet(args.contact_sheet, options.seed)
    if args.examples:
        write_examples(args.examples, options.seed)


if __name__ == "__main__":
    run_script(main)
