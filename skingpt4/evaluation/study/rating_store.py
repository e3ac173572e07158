"""What raters said, in one SQLite file: saved at every click, whole after a crash."""

import json
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from skingpt4.evaluation.study.assignment import Study, Task, is_simulated, items_for
from skingpt4.evaluation.study.ratings import RaterKind, Rating, RatingError, check_ratings

KINDS: tuple[RaterKind, ...] = get_args(RaterKind)

# Longest name and diagnosis, in characters.
MAX_NAME, MAX_DIAGNOSIS = 80, 500

# The checks are in the tables as well: whatever writes here, no score off the scale gets in.
SCHEMA = """
CREATE TABLE IF NOT EXISTS study (plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rater (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, plain_name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS diagnosis (
    rater INTEGER NOT NULL REFERENCES rater, case_id TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (rater, case_id));
CREATE TABLE IF NOT EXISTS rating (
    rater INTEGER NOT NULL REFERENCES rater, case_id TEXT NOT NULL, system TEXT NOT NULL,
    item INTEGER NOT NULL CHECK (item BETWEEN 1 AND 7),
    score INTEGER NOT NULL CHECK (score BETWEEN 1 AND 5), seconds REAL NOT NULL,
    PRIMARY KEY (rater, case_id, system, item));
"""


@dataclass(frozen=True)
class Rater:
    """A person who rates; the number settles which cases they get, and in which order."""

    number: int
    name: str
    kind: RaterKind


class RatingStore:
    """The ratings of one study; each method is one transaction, on the disk when it returns.

    Args:
        path: The SQLite file; made if it is not there.
        study: The plan. A file begun with another plan is refused.
        case_list: Hash of the case list, part of the plan.

    Raises:
        RatingError: If the file belongs to another study or is no rating file.
    """

    def __init__(self, path: Path, study: Study, case_list: str) -> None:
        self.path = path
        self.study = study
        path.parent.mkdir(parents=True, exist_ok=True)
        # Sorted, because plans are compared as texts.
        plan = json.dumps({"case_list": case_list, **asdict(study)}, sort_keys=True)
        try:
            with self._open() as database:
                database.executescript(SCHEMA)
                row = database.execute("SELECT plan FROM study").fetchone()
                if row is None:
                    database.execute("INSERT INTO study VALUES (?)", (plan,))
                # Ratings of two plans in one file could not be told apart later: a letter would
                # stand for one system in some rows and for another in others.
                elif row[0] != plan:
                    raise RatingError(
                        f"'{path}' was begun with another case list, other systems or other "
                        "settings; use the same ones, or name another file with --store."
                    )
        except sqlite3.DatabaseError:
            raise RatingError(
                f"'{path}' is not a file of ratings; name another one with --store."
            ) from None

    def register(self, name: str, kind: str) -> Rater:
        """Enter a new rater.

        Raises:
            RatingError: If the name is empty, too long or taken, or the kind is unknown.
        """
        name, plain_name = _clean_name(name)
        if kind not in KINDS:
            raise RatingError(f"'{kind}' is no kind of rater; choose one of {', '.join(KINDS)}.")
        with self._open() as database:
            # Asked only for the sentence: the table itself takes no name twice.
            query = "SELECT 1 FROM rater WHERE plain_name = ?"
            if database.execute(query, (plain_name,)).fetchone():
                raise RatingError(
                    f"The name '{name}' is already taken; if it is you, press Continue, otherwise "
                    "add an initial."
                )
            cursor = database.execute(
                "INSERT INTO rater (name, plain_name, kind) VALUES (?, ?, ?)",
                (name, plain_name, kind),
            )
            # SQLite itself counts up an INTEGER PRIMARY KEY, which numbers the raters from 1.
            return Rater(int(cursor.lastrowid or 0), name, kind)

    def resume(self, name: str) -> Rater:
        """Find a rater who began before.

        Raises:
            RatingError: If nobody of that name began.
        """
        name, plain_name = _clean_name(name)
        with self._open() as database:
            row = database.execute(
                "SELECT number, name, kind FROM rater WHERE plain_name = ?", (plain_name,)
            ).fetchone()
        if row is None:
            raise RatingError(f"Nobody called '{name}' has begun here; press Start.")
        return Rater(*row)  # under the name as it was first written

    def lock_diagnosis(self, rater: Rater, case: str, text: str) -> None:
        """Save a rater's own diagnosis; once saved it never changes.

        Raises:
            RatingError: If it is empty, too long, or another one is locked already.
        """
        text = " ".join(text.split())
        if not text or len(text) > MAX_DIAGNOSIS:
            raise RatingError(
                f"The diagnosis has {len(text)} characters; write 1 to {MAX_DIAGNOSIS}."
            )
        # The first one stays: whether it is this very text is asked afterwards, as two tabs of one
        # rater may lock at the same moment.
        with self._open() as database:
            cursor = database.execute(
                "INSERT OR IGNORE INTO diagnosis VALUES (?, ?, ?)", (rater.number, case, text)
            )
        if cursor.rowcount == 0 and self.diagnosis(rater, case) != text:
            raise RatingError(f"The diagnosis of case {case} is locked and cannot be changed.")

    def diagnosis(self, rater: Rater, case: str) -> str | None:
        """Return the locked diagnosis; None before it is locked."""
        with self._open() as database:
            row = database.execute(
                "SELECT text FROM diagnosis WHERE rater = ? AND case_id = ?", (rater.number, case)
            ).fetchone()
        return row[0] if row else None

    def rate(
        self, rater: Rater, case: str, system: str, item: int, score: int, seconds: float
    ) -> None:
        """Save a rating; a later one of the same item replaces it and adds its time.

        Args:
            rater: Who rates.
            case: The case.
            system: The system, by its own name.
            item: Number of the questionnaire's item.
            score: 1 (strongly disagree) to 5 (strongly agree).
            seconds: Time that this click took.

        Raises:
            RatingError: If the rater is not asked this, the score is off the scale, or the rater's
                own diagnosis is not locked.
        """
        if system not in self.study.systems or case not in self.study.cases:
            raise RatingError(f"The study has no answers of '{system}' to case '{case}'.")
        # A rater who has seen the answers no longer has a diagnosis of their own.
        if self.diagnosis(rater, case) is None:
            raise RatingError(f"Lock your own diagnosis of case {case} before you rate.")
        rating = Rating(rater.name, rater.kind, case, system, item, score, round(seconds, 1))
        check_ratings([rating], "The rating page")
        with self._open() as database:
            # A second thought replaces the first, but the time spent on both was spent.
            database.execute(
                "INSERT INTO rating VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "score = excluded.score, seconds = ROUND(rating.seconds + excluded.seconds, 1)",
                (rater.number, case, system, item, score, rating.seconds),
            )

    def scores(self, rater: Rater, case: str) -> dict[tuple[str, int], int]:
        """Return a rater's scores of one case by (system, item)."""
        with self._open() as database:
            rows = database.execute(
                "SELECT system, item, score FROM rating WHERE rater = ? AND case_id = ?",
                (rater.number, case),
            )
            return {(system, item): score for system, item, score in rows}

    def missing(self, rater: Rater, task: Task) -> list[tuple[str, int]]:
        """Return the (label, item) pairs of a case that the rater has not rated yet."""
        scores = self.scores(rater, task.case)
        return [
            (shown.label, item)
            for shown in task.shown
            for item in items_for(rater.kind)
            if (shown.system, item) not in scores
        ]

    def next_place(self, rater: Rater) -> int:
        """Return the index of the rater's first unfinished case; their number if all are done."""
        # Asked of the ratings, not kept as a bookmark, which a crash could leave behind.
        tasks = self.study.tasks(rater.number)
        unfinished = (place for place, task in enumerate(tasks) if self.missing(rater, task))
        return next(unfinished, len(tasks))

    def ratings(self) -> list[Rating]:
        """Return every rating, in the order of raters, cases, systems and items."""
        with self._open() as database:
            rows = database.execute(
                "SELECT name, kind, case_id, system, item, score, seconds "
                "FROM rating JOIN rater ON rater = number ORDER BY number, case_id, system, item"
            )
            return [Rating(*row) for row in rows]

    def diagnoses(self) -> list[tuple[str, str, str]]:
        """Return every locked diagnosis as (rater, case, text)."""
        with self._open() as database:
            rows = database.execute(
                "SELECT name, case_id, text FROM diagnosis JOIN rater ON rater = number "
                "ORDER BY number, case_id"
            )
            return rows.fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed and synced at the end, or undone by an error."""
        # A connection a transaction: Gradio calls from many threads, and SQLite's connections stay
        # in theirs. Half a minute is how long one waits for another's.
        with closing(sqlite3.connect(self.path, timeout=30)) as database:
            # What the page has called saved must outlive a power cut.
            database.execute("PRAGMA synchronous = FULL")
            with database:
                yield database


def _clean_name(name: str) -> tuple[str, str]:
    """Return a name without surplus spaces, and in the form by which raters are told apart.

    Raises:
        RatingError: If it is empty or too long, or kept for ratings made by a script.
    """
    cleaned = " ".join(name.split())
    if not cleaned[:1].isalnum() or len(cleaned) > MAX_NAME:
        raise RatingError(
            f"The name '{cleaned[:MAX_NAME]}' cannot be used; write 1 to {MAX_NAME} characters, a "
            "letter or digit first."
        )
    if is_simulated([cleaned]):
        raise RatingError(f"The name '{cleaned}' is kept for ratings made by a script; change it.")
    # Anna, anna and ANNA are one person, who came back.
    return cleaned, unicodedata.normalize("NFKC", cleaned).casefold()
