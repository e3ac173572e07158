"""Reading an answer: which classes and concepts its words name, and which of them it denies.

Negation works as in NegEx (Chapman et al. 2001, J Biomed Inform 34:301): a cue before or after a
term weighs it if nothing between them ends the cue's scope. Beyond denial, cues tell what an answer
settles on from what it only considers. All words are in ``vocabulary.py``.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Literal

from skingpt4.dermatology import CLASSES, CONCEPTS
from skingpt4.labeler import vocabulary

Kind = Literal["class", "concept"]

Standing = Literal["favoured", "stated", "considered", "open", "denied"]

# A place, the name of what it names, and the term that it matched.
Named = tuple[re.Match[str], str, str]

RANK = {"favoured": 0, "stated": 1, "considered": 2}
"""What an answer may settle on, the strongest first; an open or denied class never is it."""

# How many words after a cue its scope ends, if nothing ends it before; NegEx takes five, and lists
# of candidates are long.
REACH = {"denied": 8, "open": 6, "favoured": 7, "considered": 25}

REACH_BACK = 3

LIST_ITEM_WORDS = 4

# Spelling: at least this alike and long, so that "popular" does not become "papular".
MISSPELT_LENGTH, MISSPELT_RATIO = 7, 0.87

_PLAIN = str.maketrans({"’": "'", "‘": "'", "–": "-", "—": ";", "‐": "-", "‑": "-", "\u00a0": " "})

_WORD = re.compile(r"[a-z']+")

_CLAUSE_END = re.compile("|".join(vocabulary.CLAUSE_ENDS))

_NEW_STATEMENT = re.compile(vocabulary.NEW_STATEMENT)

_ALREADY_SAID = re.compile(r"\b(?:is|are|was|were) (?:seen|present|visible|noted|there)")

_AFFIRMED = re.compile(
    r"^(?:(?!\bn?or\b)[^.;,\n])*?\b(?:is|are|was|were) (?!not|absent|un|ruled|excluded|lacking)"
)

_REFUSAL = re.compile("|".join(rf"\b(?:{cue})" for cue in vocabulary.REFUSALS))


@dataclass(frozen=True)
class Match:
    """One place of a text that names a class or a concept.

    Attributes:
        kind: What is named.
        name: The class's or concept's name.
        words: The text's own words.
        start: Where they begin in the text, in characters.
        standing: ``favoured``: what the text settles on; ``considered``: a candidate; ``open``:
            raised, but not as what the photo shows; ``denied``: "no sign of …".
        cue: The words that gave it that standing; empty for ``stated``.
        malignant: Whether the words name a malignant disease.
    """

    kind: Kind
    name: str
    words: str
    start: int
    standing: Standing
    cue: str
    malignant: bool

    @property
    def negated(self) -> bool:
        """Tell whether the text denies it."""
        return self.standing == "denied"


@dataclass(frozen=True)
class Reading:
    """What a text says.

    Attributes:
        top: The class it settles on; None if it names none.
        mentioned: Every class that it names and does not deny, in table order.
        concepts: Every concept that it says it sees, in the paper's order.
        trace: The words behind each decision, in the text's order.
        abstained: Whether it declines to name a disease.
    """

    top: str | None
    mentioned: tuple[str, ...]
    concepts: tuple[str, ...]
    trace: tuple[Match, ...]
    abstained: bool


def score_text(text: str) -> Reading:
    """Read one answer."""
    trace = tuple(sorted(_matches(text), key=lambda match: (match.start, match.kind)))
    said = [match for match in trace if match.kind == "class" and not match.negated]
    seen = {match.name for match in trace if match.kind == "concept" and match.standing in RANK}
    settled = [match for match in said if match.standing in RANK]
    top = (
        min(settled, key=lambda match: (RANK[match.standing], match.start)).name
        if settled
        else None
    )
    named = {match.name for match in said}
    return Reading(
        top=top,
        mentioned=tuple(entry.name for entry in CLASSES if entry.name in named),
        concepts=tuple(entry.name for entry in CONCEPTS if entry.name in seen),
        trace=trace,
        abstained=top is None and (not text.strip() or bool(_REFUSAL.search(_plain(text).text))),
    )


@dataclass(frozen=True)
class _PlainText:
    """A text in lower case with its misspelt terms corrected, and where each letter came from."""

    text: str
    origin: tuple[tuple[int, int], ...]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original of a non-empty place in the plain text."""
        return self.origin[start][0], self.origin[end - 1][1]


def _plain(text: str) -> _PlainText:
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text.translate(_PLAIN))
    pieces: list[str] = []
    origin: list[tuple[int, int]] = []
    place = 0
    for word in _WORD.finditer(lowered):
        pieces.append(lowered[place : word.start()])
        origin += [(i, i + 1) for i in range(place, word.start())]
        right = _spelt(word.group())
        pieces.append(right)
        kept = right == word.group()
        origin += [(i, i + 1) for i in range(*word.span())] if kept else [word.span()] * len(right)
        place = word.end()
    pieces.append(lowered[place:])
    origin += [(i, i + 1) for i in range(place, len(lowered))]
    return _PlainText("".join(pieces), tuple(origin))


@lru_cache(maxsize=65536)
def _spelt(word: str) -> str:
    """Return the term's word that a word is a misspelling of, or the word itself."""
    known = _known_words()
    if len(word) < MISSPELT_LENGTH or word in known or word in vocabulary.NOT_MISSPELT:
        return word
    near = difflib.get_close_matches(word, known, n=1, cutoff=MISSPELT_RATIO)
    return near[0] if near else word


@cache
def _known_words() -> tuple[str, ...]:
    """Return the long words of all terms, with plurals, in alphabetical order."""
    terms = chain(*vocabulary.CLASS_TERMS.values(), *vocabulary.CONCEPT_TERMS.values())
    spelt = (
        form for term in terms for form in (re.sub(r"\(\w+\)", "", term), re.sub(r"[()]", "", term))
    )
    words = {word for form in spelt for word in _WORD.findall(form)}
    long_words = {word for word in words if len(word) >= MISSPELT_LENGTH - 1}
    return tuple(sorted(long_words | {f"{word}s" for word in long_words}))


@dataclass(frozen=True)
class _Lexicon:
    """A regular expression of many terms, one group each, and what each group names."""

    pattern: re.Pattern[str]
    terms: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, terms: Mapping[str, Sequence[str]]) -> "_Lexicon":
        """Compile terms by name, the longest first; one may belong to two, or be passed over."""
        names: dict[str, tuple[str, ...]] = dict.fromkeys(vocabulary.IGNORED_TERMS, ())
        for name, own in terms.items():
            names |= {term: (*names.get(term, ()), name) for term in own}
        longest_first = tuple(sorted(names, key=len, reverse=True))
        groups = "|".join(f"({_expression(term)})" for term in longest_first)
        pattern = re.compile(rf"(?<!\w)(?<!non-)(?:{groups})(?:e?s)?(?!\w)")
        return cls(pattern, longest_first, names)

    def find(self, text: str) -> Iterator[Named]:
        """Yield each place with its name and term."""
        for found in self.pattern.finditer(text):
            term = self.terms[(found.lastindex or 1) - 1]
            for name in self.names[term]:
                yield found, name, term


def _expression(term: str) -> str:
    """Write a term as a regular expression."""
    optional = re.sub(r"\\\((\w+)\\\)", r"(?:\1)?", re.escape(term))
    return re.sub(r"(?:\\ |\\-)", r"[\\s-]+", optional)


_LEXICONS: dict[Kind, _Lexicon] = {
    "class": _Lexicon.of(vocabulary.CLASS_TERMS),
    "concept": _Lexicon.of(vocabulary.CONCEPT_TERMS),
}


def _matches(text: str) -> Iterator[Match]:
    """Yield what a text names; a concept inside a disease's name ("nodular melanoma") is none."""
    plain = _plain(text)
    diseases = list(_LEXICONS["class"].find(plain.text))
    spans = [found.span() for found, _, _ in diseases]
    findings = [
        entry
        for entry in _LEXICONS["concept"].find(plain.text)
        if not any(s <= entry[0].start() and entry[0].end() <= e for s, e in spans)
    ]
    named: list[tuple[Kind, list[Named]]] = [
        ("class", diseases),
        ("concept", findings),
    ]
    cues = list(_CUES.finditer(plain.text))
    for kind, entries in named:
        for found, name, term in entries:
            start, end = plain.original(*found.span())
            standing, cue = _weigh(plain.text, found, cues)
            malignant = term in vocabulary.MALIGNANT_TERMS
            yield Match(kind, name, text[start:end], start, standing, cue, malignant)


def _either(cues: Sequence[str]) -> str:
    return "|".join(sorted(cues, key=len, reverse=True))


# Of cues that begin at the same word the first kind wins: "cannot rule out" is no "cannot".
_CUES = re.compile(
    "|".join(
        rf"(?P<{kind}>\b(?:{_either(cues)})(?!\w))"
        for kind, cues in (
            ("pseudo", vocabulary.PSEUDO_CUES),
            ("open", vocabulary.OPEN_CUES),
            ("favoured", vocabulary.FAVOURED_CUES),
            ("considered", vocabulary.CONSIDERED_CUES),
            ("denied", vocabulary.DENIED_CUES),
        )
    )
)

_CUES_AFTER: tuple[tuple[Standing, re.Pattern[str]], ...] = (
    ("open", re.compile(_either(vocabulary.OPEN_AFTER))),
    ("denied", re.compile(_either(vocabulary.DENIED_AFTER))),
    ("considered", re.compile(_either(vocabulary.CONSIDERED_AFTER))),
    ("favoured", re.compile(_either(vocabulary.FAVOURED_AFTER))),
)


def _weigh(text: str, term: re.Match[str], cues: Sequence[re.Match[str]]) -> tuple[Standing, str]:
    """Return a term's standing and the cue behind it; what follows a term outweighs the rest."""
    after = text[term.end() :]
    clause_after = _CLAUSE_END.split(after, maxsplit=1)[0]
    for standing, pattern in _CUES_AFTER:
        cue = pattern.search(clause_after)
        if cue and _reaches_back(clause_after[: cue.start()], cue.group()):
            return standing, cue.group().strip()
    before = [cue for cue in cues if cue.end() <= term.start()]
    reaching = [
        cue for cue in reversed(before) if _reaches(cue, text[cue.end() : term.start()], after)
    ]
    if not reaching:
        return "stated", ""
    nearest = reaching[0]
    if nearest.lastgroup == "open":
        # "No history of eczema" denies.
        nearest = next((cue for cue in reaching if cue.lastgroup == "denied"), nearest)
    return nearest.lastgroup, nearest.group()  # type: ignore[return-value]


def _reaches(cue: re.Match[str], gap: str, after: str) -> bool:
    """Tell whether a cue's scope goes as far as a term that stands ``gap`` behind it."""
    kind = str(cue.lastgroup)
    if kind == "pseudo" or _CLAUSE_END.search(gap) or len(gap.split()) > REACH[kind]:
        return False
    if kind != "denied":
        return True
    first, *items = re.split(r",|\band\b", gap)
    if _ALREADY_SAID.search(first):
        return False
    if any(len(i.split()) > LIST_ITEM_WORDS or _NEW_STATEMENT.search(i) for i in items):
        return False
    return not (items and not re.search(r"\bn?or\b", gap) and _AFFIRMED.search(after))


def _reaches_back(gap: str, cue: str) -> bool:
    """Tell whether a cue weighs a term that stands ``gap`` before it."""
    if _NEW_STATEMENT.search(gap):
        return False
    if cue.startswith(("are ", "were ", "have ")):
        return len(gap.split()) <= 2 * REACH_BACK
    return len(gap.split()) <= REACH_BACK and not re.search(r",|\b(?:and|or)\b", gap)
