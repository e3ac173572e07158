"""Image tokens without a Q-Former: neighbouring patches joined, as MiniGPT-4 does on Llama-2."""

from torch import Tensor

from skingpt4.common.errors import ConfigError

PATCHES_A_TOKEN = 4


def joined_tokens(patches: int) -> int:
    """Return how many tokens a photo's patches become.

    Raises:
        ConfigError: If the patches do not come out even.
    """
    tokens, left_over = divmod(patches, PATCHES_A_TOKEN)
    if left_over:
        raise ConfigError(
            f"model.image_size gives {patches} patches, no multiple of the {PATCHES_A_TOKEN} that "
            "are joined without a Q-Former; use a multiple of 28, such as 224."
        )
    return tokens


def join_patches(features: Tensor) -> Tensor:
    """Join features ``[B, 1 + N, C]`` to ``[B, N // 4, 4 * C]``; the class token is left out."""
    return features[:, 1:].unflatten(1, (-1, PATCHES_A_TOKEN)).flatten(2)
