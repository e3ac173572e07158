"""Less memory for more time: a frozen language model's activations made anew in the backward pass.

Gradients flow through a frozen language model to the projection, so that its activations are kept
as if it were trained; they are most of the memory of a step.
"""

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_activations(llm: PreTrainedModel) -> None:
    """Keep only each layer's input. To be called again after every change of mode.

    The library recomputes in training mode alone, which a frozen model is never in (its dropout
    would act); the mode of the layers themselves, not of what is in them, is all that it looks at.
    """
    # transformers 5.2x renamed it.
    newest = "activation_checkpointing_enable"
    enable = getattr(llm, newest if hasattr(llm, newest) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})
    for module in llm.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
