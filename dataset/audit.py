"""Leak audit: python dataset/audit.py --training output/skin/manifest.csv --cases cases.csv."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.convert.fingerprints import NEAR_BITS, Fingerprint, find_matches, read_fingerprints
from skingpt4.documents.document import Table

# Exit code where a case is also trained on, so that a script can stop there.
LEAKS_EXIT = 1


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = "folders of photos, manifests or tables with sha256, or case lists"
    for name, what in {"training": "what is trained on", "cases": "what is held out"}.items():
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, metavar="PLACE",
            help=f"{what}: {kinds}",
        )  # fmt: skip
    return parser.parse_args()


def read(places: Sequence[Path]) -> list[Fingerprint]:
    """Return the photos of all places, named with their place."""
    return [
        replace(photo, name=f"{place}: {photo.name}")
        for place in places
        for photo in read_fingerprints(place)
    ]


def main() -> None:
    """Compare every case with every training photo; exit with 1 if any is the same or alike."""
    args = parse_args()
    setup_logger()
    training, cases = read(args.training), read(args.cases)
    leaks = find_matches(cases, training)
    rows = tuple(
        (leak.left, leak.right, "same file" if leak.same_file else str(leak.distance))
        for leak in leaks
    )
    table = Table("", ("case", "training photo", "bits apart"), rows).markdown()
    verdict = (
        f"{len(cases)} cases against {len(training)} training photos: "
        f"{sum(leak.same_file for leak in leaks)} the same file, "
        f"{sum(not leak.same_file for leak in leaks)} looking alike (at most {NEAR_BITS} of 256 "
        "bits apart)"
    )
    sys.stdout.write((table if leaks else "") + verdict + "\n")
    sys.exit(LEAKS_EXIT if leaks else 0)


if __name__ == "__main__":
    run_script(main)
