"""Which regions of a photo an answer depends on, by occlusion (Zeiler & Fergus 2014, ECCV).

A window is moved over the photo. At each place it is hidden, and then shown alone; whatever is
hidden has the photo's median colour. The map is how much likelier the same answer is with the
window's content than without it, averaged over both. Hiding alone misses what a photo shows twice
(one of many plaques), and showing alone misses what needs its surroundings.

The map tells what the answer is sensitive to and is no proof of reasoning: a region can matter for
the wrong reason.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation

GRID = 7
"""Cells a side."""

WINDOW = 2
"""Cells a side of the window; windows overlap, so a cell is in up to four."""

PLACES_AT_ONCE = 4
"""Places of the window that are looked at together; each takes two photos."""

WORKING_SIDE = 512
"""Longest side of the photo that windows are hidden in, in pixels; the model sees less."""

LEAST_WEIGHT = 0.05
"""A region matters from this weight on, in nats a token (5 % of its probability); ours. Shuffled
weights of the embedded model stay below it."""

FULL_WEIGHT = 0.1
"""What is drawn at full brightness weighs at least this, so that a weak map looks weak; ours."""

Place = tuple[int, int]
"""Row and column of a window's top left cell."""


def _cells() -> np.ndarray:
    return np.zeros((GRID, GRID))


@dataclass
class Evidence:
    """The map of one answer over one photo; all in nats a token, over ``[GRID, GRID]`` cells.

    Attributes:
        hidden: How much less likely the answer is where a window hides something.
        alone: How much likelier it is where a window shows something, than if nothing is shown.
        done: Places of the window looked at.
    """

    hidden: np.ndarray = field(default_factory=_cells)
    alone: np.ndarray = field(default_factory=_cells)
    done: int = 0

    @property
    def share(self) -> float:
        """Share of the places that have been looked at."""
        return self.done / len(places())

    @property
    def weights(self) -> np.ndarray:
        """The map ``[GRID, GRID]``."""
        return (self.hidden + self.alone) / 2

    @property
    def strongest(self) -> Place:
        """The cell that matters most."""
        row, column = np.unravel_index(int(self.weights.argmax()), self.weights.shape)
        return int(row), int(column)

    @property
    def matters(self) -> bool:
        """Whether any region changes the answer's likelihood noticeably."""
        return bool(self.weights.max() >= LEAST_WEIGHT)

    def strength(self) -> np.ndarray:
        """Return how brightly to draw each cell, from 0 to 1, ``[GRID, GRID]``.

        If nothing matters, everything is 0: an untrained model's map has a shape, too.
        """
        if not self.matters:
            return _cells()
        above = (self.weights - max(self.weights.min(), 0)).clip(min=0)
        return above / max(above.max(), FULL_WEIGHT)


def places() -> list[Place]:
    """Return every place of the window, so ordered that the map gets finer everywhere at once."""
    steps = range(GRID - WINDOW + 1)
    ordered = [(row, column) for row in steps for column in steps]
    return [ordered[i] for i in np.random.default_rng(0).permutation(len(ordered))]


def look_for_evidence(
    chat: Chat,
    conversation: Conversation,
    photos: Sequence[Tensor],
    shown: tuple[int, Image.Image],
    answer: str,
    cancel: threading.Event,
) -> Iterator[Evidence]:
    """Make the map; yields it after every few places.

    Args:
        chat: Gives the likelihoods.
        conversation: Ends with the question that was answered.
        photos: What the model saw of each of its photos.
        shown: Which of them the map is for (0 is the first), and the photo itself, RGB.
        answer: What was answered.
        cancel: Ends the work when set.

    Raises:
        ChatError: If the engine gives no likelihoods.
    """
    number, image = shown
    image = image.copy()
    image.thumbnail((WORKING_SIDE, WORKING_SIDE))
    blank = Image.new("RGB", image.size, _median(image))

    def likelihoods(images: Sequence[Image.Image]) -> np.ndarray:
        """Return the answer's mean log-probability a token with each in the photo's place."""
        lists = [
            [*photos[:number], seen, *photos[number + 1 :]] for seen in chat.encode_photos(images)
        ]
        return chat.log_likelihoods(conversation, lists, answer)

    with_all, with_nothing = likelihoods([image, blank])
    hidden, alone, seen = np.zeros((3, GRID, GRID))
    left, done = places(), 0
    while left and not cancel.is_set():
        some, left = left[:PLACES_AT_ONCE], left[PLACES_AT_ONCE:]
        masks = [_window(image.size, place) for place in some]
        without = likelihoods([Image.composite(blank, image, mask) for mask in masks])
        just = likelihoods([Image.composite(image, blank, mask) for mask in masks])
        for (row, column), without_it, just_it in zip(some, without, just, strict=True):
            cells = np.s_[row : row + WINDOW, column : column + WINDOW]
            hidden[cells] += with_all - without_it
            alone[cells] += just_it - with_nothing
            seen[cells] += 1
        done += len(some)
        yield Evidence(hidden / seen.clip(min=1), alone / seen.clip(min=1), done)


def _median(image: Image.Image) -> tuple[int, ...]:
    return tuple(int(value) for value in np.median(np.asarray(image).reshape(-1, 3), axis=0))


def _window(size: tuple[int, int], place: Place) -> Image.Image:
    """Return the mask of a window, with soft edges that are no feature themselves."""
    width, height = size
    row, column = place
    box = (
        column * width // GRID,
        row * height // GRID,
        (column + WINDOW) * width // GRID,
        (row + WINDOW) * height // GRID,
    )
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask.filter(ImageFilter.GaussianBlur(min(width, height) / GRID / 8))


DIM = 0.4
"""How bright a region is shown that does not matter; one that matters most is shown as it is."""

OUTLINED = 0.5
"""The region above this share of the greatest strength is outlined."""


def draw(image: Image.Image, evidence: Evidence) -> Image.Image:
    """Draw the map: what matters stays as it is, the rest is grey and dark.

    Nothing covers the skin, and the map can be read without seeing colours.

    Args:
        image: The photo, RGB.
        evidence: The map.
    """
    cells = (evidence.strength() * 255).astype(np.uint8)
    strength = Image.fromarray(cells).resize(image.size, Image.Resampling.BICUBIC)
    dark = image.convert("L").point([int(value * DIM) for value in range(256)]).convert("RGB")
    drawn = Image.composite(image, dark, strength)
    if evidence.matters:
        inside = strength.point([255 * (value >= OUTLINED * cells.max()) for value in range(256)])
        wide = 2 * max(1, max(image.size) // 256) + 1
        outline = Image.composite(
            Image.new("L", image.size), inside.filter(ImageFilter.MaxFilter(wide)), inside
        )
        drawn.paste((255, 255, 255), mask=outline)
    return drawn
