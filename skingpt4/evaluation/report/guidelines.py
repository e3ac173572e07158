"""Three reporting guidelines, and what a run needs to answer each of their items. Data only.

The wording is ours and short; check the originals before submitting anything:

- CLEAR Derm: Daneshjou et al., JAMA Dermatology 158:90–96 (2022), 25 items.
- DECIDE-AI: Vasey et al., Nature Medicine 28:924–933 (2022), 17 AI-specific and 10 generic items.
- TRIPOD-LLM: Gallifant et al., Nature Medicine 31:60–69 (2025), 19 items with subitems; the
  separate list for abstracts (item 2) is one row here.
"""

from dataclasses import dataclass
from enum import Enum


class Fact(Enum):
    """What a run may bring; the value says, in a sentence, what is wanting without it."""

    RUN = "always given"
    SCORES = "no automatic scores were made"
    SOURCES = "the case list does not say where its photos are from"
    SKIN_TYPES = "the case list gives no skin types"
    LEAK_AUDIT = "no training manifest was given to audit against"
    SYSTEMS = "only one system was run"
    CONSISTENCY = "no repeated diagnoses were drawn"
    RATINGS = "no human rated: the ratings are simulated or missing"
    AGREEMENT = "fewer than two humans rated"
    STUDY = "a kit cannot know it: the study's authors must write it"
    CLINIC = "nothing was used on patients here"
    DEVELOPMENT = "this run evaluates; the training run's own records answer it"


OUT_OF_REACH = frozenset({Fact.STUDY, Fact.CLINIC, Fact.DEVELOPMENT})
"""What no run of this kit can bring."""


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: The guideline's own number.
        asks: What it asks for, in our words.
        needs: What a run must bring to answer it.
        where: The section of the report that then answers it.
    """

    number: str
    asks: str
    needs: Fact
    where: str = ""


@dataclass(frozen=True)
class Guideline:
    """A guideline and its items, in order."""

    name: str
    items: tuple[Item, ...]


METHODS, CASES, ACCURACY, RATED = "Methods", "Case pages", "Automatic scores", "Reader study"

SKIN, REPEATED, LIMITS, PUBLISHED = "By skin type", "Consistency", "Limits", "Published figures"

TIMES = "Response times"

CLEAR_DERM = Guideline(
    "CLEAR Derm",
    (
        Item("1", "Types of image used", Fact.SOURCES, METHODS),
        Item("2", "Artifacts in the images", Fact.STUDY),
        Item("3", "How the images were acquired", Fact.STUDY),
        Item("4", "Pre-processing of the images", Fact.RUN, METHODS),
        Item("5", "Synthetic images described and made available", Fact.SOURCES, METHODS),
        Item("6", "Public images referenced", Fact.SOURCES, METHODS),
        Item("7", "Patient-level metadata", Fact.STUDY),
        Item("8", "Skin colour, and how it was assessed", Fact.SKIN_TYPES, SKIN),
        Item("9", "Bias that may come from patients' data", Fact.SKIN_TYPES, SKIN),
        Item("10", "Parts of the data share nothing", Fact.LEAK_AUDIT, METHODS),
        Item("11", "Sizes of training, validation and test sets", Fact.DEVELOPMENT),
        Item("12", "An external test set", Fact.STUDY),
        Item("13", "Images from several devices or vendors", Fact.STUDY),
        Item("14", "Class distribution and balance", Fact.RUN, METHODS),
        Item("15", "Images unlike those of training", Fact.STUDY),
        Item("16", "How the labels were made, and by whom", Fact.STUDY),
        Item("17", "Labels that follow accepted diagnostic terms", Fact.RUN, METHODS),
        Item("18", "Histopathology behind labels of malignancy", Fact.STUDY),
        Item("19", "How the algorithm was developed", Fact.DEVELOPMENT),
        Item("20", "A way for others to evaluate the algorithm", Fact.RUN, METHODS),
        Item("21", "Measures of performance", Fact.SCORES, ACCURACY),
        Item("22", "Benchmarks and comparison with other systems", Fact.SYSTEMS, ACCURACY),
        Item("23", "Assessment of bias", Fact.SKIN_TYPES, SKIN),
        Item("24", "Use cases and target conditions", Fact.RUN, LIMITS),
        Item("25", "Effects on health care teams and patients", Fact.CLINIC),
    ),
)

DECIDE_AI = Guideline(
    "DECIDE-AI",
    (
        Item("1", "Title names an early clinical evaluation of AI", Fact.CLINIC),
        Item("I", "Structured abstract", Fact.STUDY),
        Item("2", "Intended use, users and place in care", Fact.STUDY),
        Item("II", "Objectives", Fact.STUDY),
        Item("III", "Protocol, registration and ethics approval", Fact.STUDY),
        Item("3", "Participants: how patients and users were recruited and trained", Fact.STUDY),
        Item("4", "AI system: version, inputs and outputs", Fact.RUN, METHODS),
        Item("5", "Implementation: setting and clinical workflow", Fact.CLINIC),
        Item("IV", "Outcomes, primary and secondary", Fact.RUN, METHODS),
        Item("6", "Safety and errors: how significant ones are found", Fact.SCORES, ACCURACY),
        Item("7", "Human factors: tools and methods", Fact.RATINGS, RATED),
        Item("V", "Statistical methods", Fact.RUN, METHODS),
        Item("8", "Ethics: equity and fairness", Fact.SKIN_TYPES, SKIN),
        Item("VI", "Patient involvement", Fact.STUDY),
        Item("9", "Baseline characteristics of patients and users", Fact.CLINIC),
        Item("10", "Exposure to the system, and adherence", Fact.CLINIC),
        Item("VII", "Main results", Fact.RATINGS, RATED),
        Item("VIII", "Subgroup analyses", Fact.SKIN_TYPES, SKIN),
        Item("11", "Modifications of the system during the study", Fact.RUN, METHODS),
        Item("12", "Agreement of humans and system", Fact.RATINGS, RATED),
        Item("13", "Significant errors and their causes", Fact.SCORES, ACCURACY),
        Item("14", "Usability and learning of users", Fact.CLINIC),
        Item("15", "Whether results support the intended use", Fact.STUDY),
        Item("16", "Meaning of the safety profile", Fact.STUDY),
        Item("IX", "Strengths and limits", Fact.RUN, LIMITS),
        Item("17", "Availability of data and code", Fact.RUN, METHODS),
        Item("X", "Conflicts of interest", Fact.STUDY),
    ),
)

TRIPOD_LLM = Guideline(
    "TRIPOD-LLM",
    (
        Item("1", "Title: an LLM, its task, population and outcome", Fact.STUDY),
        Item("2", "Abstract by its own list", Fact.STUDY),
        Item("3a", "Health care context and rationale", Fact.STUDY),
        Item("3b", "Target population and intended users", Fact.STUDY),
        Item("4", "Objectives", Fact.STUDY),
        Item("5a", "Sources of training and evaluation data", Fact.SOURCES, METHODS),
        Item("5b", "Distribution and description of the data", Fact.RUN, METHODS),
        Item("5c", "Dates of the oldest and newest data", Fact.STUDY),
        Item("5d", "Pre-processing and quality checks", Fact.RUN, METHODS),
        Item("5e", "Missing and imbalanced data", Fact.RUN, METHODS),
        Item("6a", "Name and version of the LLM", Fact.RUN, METHODS),
        Item("6b", "Architecture and inference settings", Fact.RUN, METHODS),
        Item("6c", "Training, tuning and alignment", Fact.DEVELOPMENT),
        Item("6d", "Output, as given and as processed", Fact.RUN, METHODS),
        Item("6e", "How classes were read from the output", Fact.SCORES, ACCURACY),
        Item("7a", "Quality of generated text: accuracy, consistency", Fact.CONSISTENCY, REPEATED),
        Item("7b", "Relevance of metrics to use, and to human judgement", Fact.RATINGS, RATED),
        Item("7c", "Outcome and metrics defined", Fact.RUN, METHODS),
        Item("7d", "Assessors and their agreement", Fact.AGREEMENT, RATED),
        Item("7e", "Comparison with other LLMs, humans or standards", Fact.SYSTEMS, ACCURACY),
        Item("8a", "Annotation: how text was labelled", Fact.STUDY),
        Item("8b", "Annotation: how many annotators", Fact.STUDY),
        Item("8c", "Annotation: their background and agreement", Fact.STUDY),
        Item("9a", "How the prompts were designed", Fact.RUN, METHODS),
        Item("9b", "Data used to develop the prompts", Fact.STUDY),
        Item("10", "Pre-processing before summarisation (not this task)", Fact.STUDY),
        Item("11", "Instruction tuning", Fact.DEVELOPMENT),
        Item("12", "Compute: machines and time", Fact.RUN, TIMES),
        Item("13", "Ethics approval", Fact.STUDY),
        Item("14a", "Funding", Fact.STUDY),
        Item("14b", "Conflicts of interest", Fact.STUDY),
        Item("14c", "Study protocol", Fact.STUDY),
        Item("14d", "Registration", Fact.STUDY),
        Item("14e", "Availability of data", Fact.RUN, METHODS),
        Item("14f", "Availability of code", Fact.RUN, METHODS),
        Item("15", "Patient and public involvement", Fact.STUDY),
        Item("16a", "Flow of patients' data", Fact.STUDY),
        Item("16b", "Characteristics of each data source", Fact.STUDY),
        Item("16c", "Development against evaluation data", Fact.DEVELOPMENT),
        Item("16d", "Numbers in each analysis", Fact.RUN, METHODS),
        Item("17", "Performance by the metrics named", Fact.SCORES, ACCURACY),
        Item("18", "Results of updating the LLM", Fact.DEVELOPMENT),
        Item("19a", "Interpretation, with fairness", Fact.STUDY),
        Item("19b", "Limits", Fact.RUN, LIMITS),
        Item("19c", "Known difficulties of such data", Fact.RUN, LIMITS),
        Item("19d", "Intended use, input, user, human oversight", Fact.STUDY),
        Item("19e", "Poor or missing input", Fact.STUDY),
        Item("19f", "What users must do and know", Fact.STUDY),
        Item("19g", "Next steps", Fact.STUDY),
    ),
)

GUIDELINES = (CLEAR_DERM, DECIDE_AI, TRIPOD_LLM)


def answer(item: Item, facts: frozenset[Fact]) -> tuple[bool, str]:
    """Tell whether a run that brings these facts answers an item, and where or why not."""
    if item.needs in facts:
        return True, item.where
    return False, item.needs.value
