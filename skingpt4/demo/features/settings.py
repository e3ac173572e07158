"""How answers are chosen, folded away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from skingpt4.conversation.engines import Decoding
from skingpt4.demo.features.opinion import DRAWS
from skingpt4.demo.i18n import t
from skingpt4.demo.page import AT_ONCE, Page, Updates
from skingpt4.demo.session import Session

DEFAULTS = Decoding()

LARGEST_SEED = 2**31 - 1

DRAWS_RANGE = (3, 20)

CHOICES: dict[str, dict[str, Any]] = {
    "temperature": {"minimum": 0, "maximum": 2, "step": 0.1},
    "num_beams": {"minimum": 1, "maximum": 5, "step": 1},
    "top_p": {"minimum": 0.05, "maximum": 1, "step": 0.05},
    "max_new_tokens": {"minimum": 20, "maximum": 600, "step": 20},
}
"""Fields of ``Decoding`` that the page offers, and their ranges."""


@dataclass(frozen=True)
class SettingsPanel:
    """The settings' parts.

    Attributes:
        sliders: One for each of ``CHOICES``, in its order.
        seed: What repeats a conversation's sampled answers.
        draws: How many answers make a second opinion.
    """

    sliders: tuple[gr.Slider, ...]
    seed: gr.Number
    draws: gr.Slider

    @property
    def outputs(self) -> Sequence[Any]:
        """The seed: every case has its own."""
        return [self.seed]

    def show(self, session: Session) -> Updates:
        """Show the seed of the case."""
        return {self.seed: session.case.seed}


def lay_out() -> SettingsPanel:
    """Make the settings."""
    with gr.Accordion(t("settings.title"), open=False, elem_id="settings"):
        sliders = tuple(
            gr.Slider(
                value=getattr(DEFAULTS, name),
                label=t(f"settings.{name}"),
                info=t(f"settings.{name}_info"),
                elem_id=f"setting-{name}",
                **choice,
            )
            for name, choice in CHOICES.items()
        )
        seed = gr.Number(
            label=t("settings.seed"),
            info=t("settings.seed_info"),
            precision=0,
            minimum=0,
            maximum=LARGEST_SEED,
            elem_id="setting-seed",
        )
        draws = gr.Slider(
            *DRAWS_RANGE,
            value=DRAWS,
            step=1,
            label=t("settings.draws"),
            info=t("settings.draws_info"),
            elem_id="setting-draws",
        )
    return SettingsPanel(sliders, seed, draws)


def chosen(values: Sequence[float]) -> dict[str, Any]:
    """Return the sliders' values as fields of ``Decoding``; whole numbers stay whole."""
    fields = zip(CHOICES, values, strict=True)
    return {name: type(getattr(DEFAULTS, name))(value) for name, value in fields}


def wire(panel: SettingsPanel, page: Page) -> None:
    """Keep the seed that a visitor chooses."""

    def keep_seed(seed: float | None, request: gr.Request) -> None:
        if seed is not None:
            page.session(request).case.seed = int(seed)

    panel.seed.input(keep_seed, [panel.seed], None, **AT_ONCE)
