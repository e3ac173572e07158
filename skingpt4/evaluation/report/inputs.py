"""What tables, figures and report are made from: the files of one folder, held together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from skingpt4.evaluation.cases import (
    CASE_LIST_NAME,
    CHECK_NAME,
    EvalCase,
    case_list_hash,
    read_cases,
)
from skingpt4.evaluation.report.analysis import Analysis, analyse
from skingpt4.evaluation.report.reference import OUT_OF_REACH, Fact
from skingpt4.evaluation.responses import (
    CONCEPTS_NAME,
    CONSISTENCY_NAME,
    RESPONSES_NAME,
    Responses,
    read_responses,
)
from skingpt4.evaluation.scoring.accuracy import ConceptScore, SystemScore, score, score_asked
from skingpt4.evaluation.scoring.comparisons import PairedComparison, compare_systems
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
from skingpt4.evaluation.study.times import Times, read_times, response_times

RATINGS_NAME, TIMES_NAME = "ratings.csv", "times.csv"

SIMULATED_RATINGS = (
    "The ratings are SIMULATED BY A SCRIPT: no human rated anything. They show how the analysis "
    "works and are no evidence for or against any system."
)

SIMULATED_TIMES = (
    "The comparison group of the response times is SIMULATED BY A SCRIPT: nobody was timed."
)

# In captions and pictures: copied alone, they leave the sentences above behind.
MARK = "[SIMULATED BY SCRIPT]"


@dataclass(frozen=True)
class LeakAudit:
    """What the audit against training sets found; `leaks` are cases' ids."""

    training_images: int
    leaks: tuple[str, ...]


# Not frozen: what is optional is filled in once the answers are read.
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

    # Tables, figures and report share these; the bootstrap intervals alone take seconds. They are
    # kept, so they must not be asked for before all fields are filled in.
    @cached_property
    def analysis(self) -> Analysis:
        """What the ratings amount to."""
        return analyse(self.ratings)

    @cached_property
    def pairs(self) -> list[PairedComparison]:
        """The first system against each other one, on the same cases."""
        return compare_systems(self.cases, self.responses.rows)

    @cached_property
    def own_times(self) -> Times:
        """The systems' own response times in seconds."""
        return response_times(self.responses.rows)

    @cached_property
    def modal_shares(self) -> dict[str, list[float]]:
        """For each system and image, the share of its diagnoses that are the commonest one."""
        # Counts come with the largest first.
        return {
            name: [image.counts[0] / len(image.tops) for image in one.images]
            for name, one in self.consistency.items()
        }

    @property
    def rating_mark(self) -> str:
        """What stands beside whatever shows ratings, where a script made any of them up."""
        return MARK if is_simulated(rating.rater for rating in self.ratings) else ""

    @property
    def time_mark(self) -> str:
        """What stands beside whatever shows the comparison group's times, likewise."""
        return MARK if is_simulated(self.times) else ""

    @property
    def notices(self) -> list[str]:
        """The warnings that must stand before everything else."""
        notices = [system.get("notice", "") for system in self.responses.systems.values()]
        notices.append(SIMULATED_RATINGS if self.rating_mark else "")
        notices.append(SIMULATED_TIMES if self.time_mark else "")
        # Each once, however many systems come with it.
        return [notice for notice in dict.fromkeys(notices) if notice]

    @property
    def facts(self) -> frozenset[Fact]:
        """What this run brings to the guidelines' items."""
        # One simulated rating among many makes all of them no evidence.
        humans = set() if self.rating_mark else {rating.rater for rating in self.ratings}
        # Where each photo is from must be known of all; skin types are reported as far as known.
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


def load_scores(folder: Path, cases: Sequence[EvalCase]) -> Evaluation:
    """Read the answers of an evaluation folder and score them; the reader study is left out.

    Raises:
        EvaluationError: If answers are missing, damaged, or about other cases.
    """
    responses = read_responses(folder / RESPONSES_NAME, cases)
    # Made only where step 1's question was asked.
    concepts = folder / CONCEPTS_NAME
    told = read_responses(concepts, cases).rows if concepts.exists() else []
    return Evaluation(
        cases=cases,
        responses=responses,
        scores=score(cases, responses.rows),
        asked_concepts=score_asked(cases, told),
    )


def load_evaluation(folder: Path, cases: Sequence[EvalCase] | None = None) -> Evaluation:
    """Read an evaluation folder.

    Args:
        folder: Holds responses.jsonl and, as far as made, ratings.csv, diagnoses.csv, times.csv,
            concepts.jsonl, consistency.jsonl and cases_checked.json.
        cases: The case list; by default that of cases.csv in the folder.

    Raises:
        UserError: If a file is missing, damaged, or about other cases or systems.
    """
    evaluation = load_scores(
        folder, read_cases(folder / CASE_LIST_NAME) if cases is None else cases
    )
    # Optional files follow: what is not there stays empty, and the report says that it is missing.
    cases, responses = evaluation.cases, evaluation.responses
    ratings_file, times_file = folder / RATINGS_NAME, folder / TIMES_NAME
    if ratings_file.exists():
        evaluation.ratings = read_ratings(ratings_file)
    # Empty names are allowed: items 6 and 7 may be asked of no case and of no system.
    # Ratings of other answers would be averaged with these, and nothing would tell.
    known_cases = {"", *(case.id for case in cases)}
    known_systems = {"", *(row.system for row in responses.rows)}
    for rating in evaluation.ratings:
        if rating.case not in known_cases or rating.system not in known_systems:
            raise RatingError(
                f"'{ratings_file}' rates system '{rating.system}' on case '{rating.case}', which "
                "the answers do not have; use the ratings of this case list."
            )
    evaluation.diagnoses = read_diagnoses(folder / DIAGNOSES_NAME, cases)
    if times_file.exists():
        evaluation.times = read_times(times_file)
    repeated = folder / CONSISTENCY_NAME
    if repeated.exists():
        evaluation.consistency = measure_consistency(read_responses(repeated, cases).rows)
    if (folder / CHECK_NAME).exists():
        found = json.loads((folder / CHECK_NAME).read_text(encoding="utf-8"))
        # A check of another list, or one without training sets, says nothing about leaks here.
        if found["case_list"] == case_list_hash(cases) and found["training_images"]:
            leaks = tuple(leak["case"] for leak in found["leaks"])
            evaluation.audit = LeakAudit(found["training_images"], leaks)
    return evaluation
