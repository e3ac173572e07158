"""What a report is made from: the files of one evaluation folder, read and held together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skingpt4.evaluation.cases import CASE_LIST_NAME, EvalCase, case_list_hash, read_cases
from skingpt4.evaluation.commands.cases import CHECK_NAME
from skingpt4.evaluation.commands.consistency import CONSISTENCY_NAME
from skingpt4.evaluation.commands.run import CONCEPTS_NAME, RESPONSES_NAME
from skingpt4.evaluation.report.guidelines import OUT_OF_REACH, Fact
from skingpt4.evaluation.responses import Response, Responses, responses_about, rows_about
from skingpt4.evaluation.scoring.accuracy import ConceptScore, SystemScore, score, score_asked
from skingpt4.evaluation.scoring.repeatability import ConsistencyScore, measure_consistency
from skingpt4.evaluation.study.assignment import is_simulated
from skingpt4.evaluation.study.ratings import (
    DIAGNOSES_NAME,
    Diagnosis,
    Rating,
    RatingError,
    read_diagnoses,
    read_ratings,
)
from skingpt4.evaluation.study.times import Times, read_times

SIMULATED_RATINGS = (
    "The ratings are SIMULATED BY A SCRIPT: no human rated anything. They show how the analysis "
    "works and are no evidence for or against any system."
)

SIMULATED_TIMES = (
    "The comparison group of the response times is SIMULATED BY A SCRIPT: nobody was timed."
)

MARK = "[SIMULATED BY SCRIPT]"


@dataclass(frozen=True)
class LeakAudit:
    """What the audit against training sets found; `leaks` are cases' ids."""

    training_images: int
    leaks: tuple[str, ...]


@dataclass
class Evaluation:
    """Everything known of one evaluation.

    Attributes:
        cases: The case list.
        responses: The answers.
        scores: The automatic scores by system.
        ratings: Of the reader study; empty without one.
        diagnoses: The raters' own, locked before they saw an answer.
        times: The comparison group's response times in seconds; empty without one.
        asked_concepts: What the question of step 1 brought, by system; empty if it was not asked.
        consistency: What repeated diagnoses gave, by system; empty if none were drawn.
        audit: The leak audit, if there was one.
    """

    cases: Sequence[EvalCase]
    responses: Responses
    scores: Mapping[str, SystemScore]
    ratings: Sequence[Rating] = ()
    diagnoses: Sequence[Diagnosis] = ()
    times: Times = field(default_factory=dict)
    asked_concepts: Mapping[str, ConceptScore] = field(default_factory=dict)
    consistency: Mapping[str, ConsistencyScore] = field(default_factory=dict)
    audit: LeakAudit | None = None

    @property
    def has_simulated_ratings(self) -> bool:
        """Tell whether any rating was made up by a script."""
        return is_simulated(rating.rater for rating in self.ratings)

    @property
    def has_simulated_times(self) -> bool:
        """Tell whether any response time was made up by a script."""
        return is_simulated(self.times)

    @property
    def rating_mark(self) -> str:
        """What stands beside whatever shows ratings, where a script made them up."""
        return MARK if self.has_simulated_ratings else ""

    @property
    def time_mark(self) -> str:
        """What stands beside whatever shows the comparison group's times, likewise."""
        return MARK if self.has_simulated_times else ""

    @property
    def notices(self) -> list[str]:
        """The warnings that must stand before everything else."""
        systems = self.responses.header.get("systems", {}).values()
        notices = [system.get("notice", "") for system in systems]
        notices.append(SIMULATED_RATINGS if self.has_simulated_ratings else "")
        notices.append(SIMULATED_TIMES if self.has_simulated_times else "")
        return [notice for notice in dict.fromkeys(notices) if notice]

    @property
    def facts(self) -> frozenset[Fact]:
        """What this run brings to the guidelines' items."""
        humans = {rating.rater for rating in self.ratings} if not self.has_simulated_ratings else ()
        known = {
            Fact.RUN: True,
            Fact.SCORES: bool(self.scores),
            Fact.SOURCES: all(case.source for case in self.cases),
            Fact.SKIN_TYPES: any(case.fitzpatrick for case in self.cases),
            Fact.LEAK_AUDIT: self.audit is not None,
            Fact.SYSTEMS: len(self.scores) > 1,
            Fact.CONSISTENCY: bool(self.consistency),
            Fact.RATINGS: len(humans) > 0,
            Fact.AGREEMENT: len(humans) > 1,
        }
        return frozenset(fact for fact, holds in known.items() if holds) - OUT_OF_REACH


def load_evaluation(folder: Path, case_list: Path | None = None) -> Evaluation:
    """Read an evaluation folder.

    Args:
        folder: Holds responses.jsonl and, as far as made, ratings.csv, diagnoses.csv, times.csv,
            concepts.jsonl, consistency.jsonl and cases_checked.json.
        case_list: By default cases.csv in the folder.

    Raises:
        UserError: If a file is missing, damaged, or about other cases or systems.
    """
    cases = read_cases(case_list or folder / CASE_LIST_NAME)
    responses = responses_about(folder / RESPONSES_NAME, cases)
    ratings_file, times_file = folder / "ratings.csv", folder / "times.csv"
    ratings = read_ratings(ratings_file) if ratings_file.exists() else []
    _check_ratings(ratings, cases, responses.rows, ratings_file)
    return Evaluation(
        cases=cases,
        responses=responses,
        scores=score(cases, responses.rows),
        ratings=ratings,
        diagnoses=read_diagnoses(folder / DIAGNOSES_NAME, cases),
        times=read_times(times_file) if times_file.exists() else {},
        asked_concepts=score_asked(cases, rows_about(folder / CONCEPTS_NAME, cases)),
        consistency=measure_consistency(rows_about(folder / CONSISTENCY_NAME, cases)),
        audit=_read_audit(folder / CHECK_NAME, case_list_hash(cases)),
    )


def _check_ratings(
    ratings: Sequence[Rating], cases: Sequence[EvalCase], responses: Sequence[Response], path: Path
) -> None:
    """Refuse ratings of cases or systems that the answers do not have."""
    known_cases = {"", *(case.id for case in cases)}
    known_systems = {"", *(row.system for row in responses)}
    for rating in ratings:
        if rating.case not in known_cases or rating.system not in known_systems:
            raise RatingError(
                f"'{path}' rates system '{rating.system}' on case '{rating.case}', which the "
                "answers do not have; use the ratings of this case list."
            )


def _read_audit(path: Path, case_list: str) -> LeakAudit | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["case_list"] != case_list or not found["training_images"]:
        return None
    return LeakAudit(found["training_images"], tuple(leak["case"] for leak in found["leaks"]))
