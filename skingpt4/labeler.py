"""A NegEx-style labeler: which classes, concepts and diseases an answer names or denies.

Negation works as in NegEx (Chapman et al. 2001, J Biomed Inform 34:301): a cue before or after a
term weighs it if nothing between them ends the cue's scope. Beyond denial, cues tell what an answer
settles on from what it only considers. The words of classes and concepts and all cues are in
``data/vocabulary.yaml``, those of diseases in ``data/conditions.yaml``.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from skingpt4.common.files import load_data
from skingpt4.dermatology import CLASSES, CONCEPTS, CONDITIONS, Condition

VOCABULARY: dict[str, Any] = load_data("vocabulary.yaml")

# Of the vocabulary; labels of different versions do not compare.
VERSION: int = VOCABULARY["version"]

# The class whose terms are all malignant.
MALIGNANT: str = VOCABULARY["malignant_class"]

# Terms of the classes that raise the alarm. What only `diagnoses` knows is not among them, so that
# scores stay comparable.
MALIGNANT_TERMS = frozenset(
    term
    for one in CONDITIONS.values()
    if one.malignancy in ("malignant", "premalignant")
    for term in one.terms
    if any(term in own for own in VOCABULARY["classes"].values())
)

Kind = Literal["class", "concept", "disease"]

Standing = Literal["favoured", "stated", "considered", "open", "denied"]

# What an answer may settle on, the strongest first; never on an open or denied class.
RANK = {"favoured": 0, "stated": 1, "considered": 2}

# How many words after a cue its scope ends, if nothing ends it before; NegEx takes five, and lists
# of candidates are long.
REACH = {"denied": 8, "open": 6, "favoured": 7, "considered": 25}

REACH_BACK = 3

LIST_ITEM_WORDS = 4

# Spelling: at least this alike and long, so that "popular" does not become "papular".
MISSPELT_LENGTH, MISSPELT_RATIO = 7, 0.87


@dataclass(frozen=True)
class Mention:
    """One place of a text that names a class, a concept or a disease.

    Attributes:
        kind: What is named.
        name: The class's, concept's or disease's name.
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
class Labels:
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
    trace: tuple[Mention, ...]
    abstained: bool


def label_text(text: str) -> Labels:
    """Label one answer."""
    plain, origin = _normalise(text)
    mentions = _mentions(text, plain, origin, ("class", "concept"))
    trace = sorted(mentions, key=lambda one: (one.start, one.kind))
    said = [one for one in trace if one.kind == "class" and not one.negated]
    seen = {one.name for one in trace if one.kind == "concept" and one.standing in RANK}
    settled = [one for one in said if one.standing in RANK]
    # Of what stands equally high, the text's first: "psoriasis or eczema" leads with psoriasis.
    top = min(settled, key=lambda one: (RANK[one.standing], one.start)).name if settled else None
    named = {one.name for one in said}
    return Labels(
        top=top,
        mentioned=tuple(entry.name for entry in CLASSES if entry.name in named),
        concepts=tuple(entry.name for entry in CONCEPTS if entry.name in seen),
        trace=tuple(trace),
        abstained=top is None and (not text.strip() or bool(_REFUSAL.search(plain))),
    )


def diagnoses(text: str) -> tuple[list[Condition], list[Condition]]:
    """Return which diseases an answer settles on, and which it names without denying them.

    Mostly it settles on one. Those that it names side by side, as "a mole or a melanoma" does, are
    all returned, for to take the first would be to decide what the answer leaves open.

    Returns:
        Both in the text's order, each disease once.
    """
    plain, origin = _normalise(text, known=_DISEASE_WORDS)
    said = [one for one in _mentions(text, plain, origin, ("disease",)) if not one.negated]
    settled = [one for one in said if one.standing in RANK]
    listed: list[Mention] = []
    if settled:
        listed = [min(settled, key=lambda one: (RANK[one.standing], one.start))]
        for one in settled[settled.index(listed[0]) + 1 :]:
            gap = text[listed[-1].start + len(listed[-1].words) : one.start].lower()
            if one.standing != listed[0].standing or not _SIDE_BY_SIDE.fullmatch(gap):
                break
            listed.append(one)
    top, named = (
        [CONDITIONS[n] for n in dict.fromkeys(m.name for m in own)] for own in (listed, said)
    )
    # "Melanoma skin cancer" is one disease.
    special = {one.malignancy for one in top if not one.is_general}
    return [one for one in top if not (one.is_general and one.malignancy in special)], named


def _mentions(
    text: str, plain: str, origin: Sequence[tuple[int, int]], kinds: Sequence[Kind]
) -> Iterator[Mention]:
    """Yield what a text names, kind after kind."""
    cues = list(_CUES.finditer(plain))
    diseases = [found.span() for found in _LEXICONS["class"][0].finditer(plain)]
    for kind in kinds:
        pattern, names = _LEXICONS[kind]
        for found in pattern.finditer(plain):
            start, end = found.span()
            # A concept inside a disease's name is none: "nodular melanoma" shows no nodule.
            if kind == "concept" and any(s <= start and end <= e for s, e in diseases):
                continue
            term, owners = names[(found.lastindex or 1) - 1]
            first, last = origin[start][0], origin[end - 1][1]
            standing, cue = _weigh(plain, found, cues)
            for name in owners:
                malignant = term in MALIGNANT_TERMS
                yield Mention(kind, name, text[first:last], first, standing, cue, malignant)


_PLAIN = str.maketrans({"’": "'", "‘": "'", "–": "-", "—": ";", "‐": "-", "‑": "-", "\u00a0": " "})

_WORD = re.compile(r"[a-z']+")


def _normalise(text: str, known: frozenset[str] = frozenset()) -> tuple[str, list[tuple[int, int]]]:
    """Return a text in lower case with its misspelt terms corrected.

    Args:
        text: As it was written.
        known: Words that are right as they are.

    Returns:
        The plain text, and for each of its characters where in the original it comes from: start
        and end. A corrected word's characters all come from the whole word.
    """
    # A few capitals have two small letters (İ); they stay, since places must not shift.
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text.translate(_PLAIN))
    pieces: list[str] = []
    origin: list[tuple[int, int]] = []
    place = 0
    for word in _WORD.finditer(lowered):
        right = word.group() if word.group() in known else _spell(word.group())
        if right != word.group():
            pieces += [lowered[place : word.start()], right]
            origin += [(i, i + 1) for i in range(place, word.start())]
            origin += [word.span()] * len(right)
            place = word.end()
    pieces.append(lowered[place:])
    origin += [(i, i + 1) for i in range(place, len(lowered))]
    return "".join(pieces), origin


@lru_cache(maxsize=65536)
def _spell(word: str) -> str:
    """Return the term's word that a word is a misspelling of, or the word itself."""
    if len(word) < MISSPELT_LENGTH or word in _SPELT or word in VOCABULARY["not_misspelt"]:
        return word
    near = difflib.get_close_matches(word, _SPELT, n=1, cutoff=MISSPELT_RATIO)
    return near[0] if near else word


# The long words of all terms, with and without their optional letters, and their plurals. Sorted,
# because of equally near words the first is taken.
_LONG = {
    word
    for terms in (*VOCABULARY["classes"].values(), *VOCABULARY["concepts"].values())
    for term in terms
    for spelling in (re.sub(r"\(\w+\)", "", term), re.sub(r"[()]", "", term))
    for word in _WORD.findall(spelling)
    if len(word) >= MISSPELT_LENGTH - 1
}
_SPELT = sorted(_LONG | {f"{word}s" for word in _LONG})

# An expression with one group for each term; the term of each group, and what it names.
Lexicon = tuple[re.Pattern[str], list[tuple[str, tuple[str, ...]]]]


def _compile_lexicon(terms: Mapping[str, Sequence[str]]) -> Lexicon:
    """Compile terms by name; a term may belong to two names, or to none and be passed over."""
    names: dict[str, tuple[str, ...]] = dict.fromkeys(VOCABULARY["ignored"], ())
    for name, own in terms.items():
        names |= {term: (*names.get(term, ()), name) for term in own}
    # An alternation takes its first match, so "lichen planus" must stand before "lichen".
    longest_first = sorted(names.items(), key=lambda entry: len(entry[0]), reverse=True)
    groups = []
    for term, _ in longest_first:
        optional = re.sub(r"\\\((\w+)\\\)", r"(?:\1)?", re.escape(term))
        groups.append("(" + re.sub(r"(?:\\ |\\-)", r"[\\s-]+", optional) + ")")
    pattern = re.compile(rf"(?<!\w)(?<!non-)(?:{'|'.join(groups)})(?:e?s)?(?!\w)")
    return pattern, longest_first


_LEXICONS: dict[Kind, Lexicon] = {
    "class": _compile_lexicon(VOCABULARY["classes"]),
    "concept": _compile_lexicon(VOCABULARY["concepts"]),
    "disease": _compile_lexicon({name: one.terms for name, one in CONDITIONS.items()}),
}

# The classes' vocabulary would take "premalignant" for "malignant" misspelt.
_DISEASE_WORDS = frozenset(
    word for one in CONDITIONS.values() for term in one.terms for word in _WORD.findall(term)
)

# Between two diseases of one list: nothing but the end of a bracket, or what links them and at most
# two words ("or an early"). After a comma, an article begins an explanation ("melanoma, a cancer").
_SIDE_BY_SIDE = re.compile(
    r"[\s)-]*(?:(?!,\s*an?\b)(?:,?\s*\b(?:and|or|versus|vs)\b\.?|[,/(])\s*(?:(?:an?|the)\b)?"
    r"(?:\s*\w+){0,2}\s*)?"
)

# Of the cues of a kind, the longest first, as an alternation takes its first match.
_BEFORE, _AFTER = (
    {kind: "|".join(sorted(own, key=len, reverse=True)) for kind, own in VOCABULARY[cues].items()}
    for cues in ("cues_before", "cues_after")
)
_CUES = re.compile(
    "|".join(rf"(?P<{kind}>\b(?:{either})(?!\w))" for kind, either in _BEFORE.items())
)
_CUES_AFTER = {kind: re.compile(either) for kind, either in _AFTER.items()}
_CLAUSE_END = re.compile("|".join(VOCABULARY["clause_ends"]))
_NEW_STATEMENT = re.compile(rf"\b(?:{'|'.join(VOCABULARY['new_statement'])})\b")
_REFUSAL = re.compile("|".join(rf"\b(?:{cue})" for cue in VOCABULARY["refusals"]))
_ALREADY_SAID = re.compile(r"\b(?:is|are|was|were) (?:seen|present|visible|noted|there)")
_AFFIRMED = re.compile(
    r"^(?:(?!\bn?or\b)[^.;,\n])*?\b(?:is|are|was|were) (?!not|absent|un|ruled|excluded|lacking)"
)


def _weigh(text: str, term: re.Match[str], cues: Sequence[re.Match[str]]) -> tuple[Standing, str]:
    """Return a term's standing and the cue behind it.

    Args:
        text: The plain text.
        term: The term's place in it.
        cues: All places of cues that weigh what follows them.
    """
    # A cue behind the term outweighs all before it: "no crust; psoriasis is most likely".
    after = text[term.end() :]
    clause = _CLAUSE_END.split(after, maxsplit=1)[0]
    for standing, pattern in _CUES_AFTER.items():
        cue = pattern.search(clause)
        if not cue:
            continue
        gap = clause[: cue.start()]
        # A plural verb speaks of a whole list ("scale and crust are absent"), another of its last.
        of_list = cue.group().startswith(("are ", "were ", "have "))
        near = len(gap.split()) <= (2 if of_list else 1) * REACH_BACK
        same_item = of_list or not re.search(r",|\b(?:and|or)\b", gap)
        if near and same_item and not _NEW_STATEMENT.search(gap):
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
    """Tell whether a cue's scope goes as far as a term.

    Args:
        cue: The cue's place.
        gap: The text between cue and term.
        after: The text behind the term.
    """
    kind = str(cue.lastgroup)
    if kind == "pseudo" or _CLAUSE_END.search(gap) or len(gap.split()) > REACH[kind]:
        return False
    if kind != "denied":
        return True
    # A denial runs through a list of short items ("no scale, crust or ulcer"), but not into a
    # statement that follows it ("no crust is seen, scale", "no crust, and the scale is thick").
    first, *items = re.split(r",|\band\b", gap)
    if _ALREADY_SAID.search(first):
        return False
    if any(len(item.split()) > LIST_ITEM_WORDS or _NEW_STATEMENT.search(item) for item in items):
        return False
    return not (items and not re.search(r"\bn?or\b", gap) and _AFFIRMED.search(after))
