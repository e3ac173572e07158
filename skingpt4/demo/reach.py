"""Whether the demo may reach other machines."""

from urllib.parse import urlsplit

from skingpt4.common.errors import ConfigError
from skingpt4.common.offline import is_local
from skingpt4.common.schema import ModelConfig
from skingpt4.common.sources import is_remote


def settle_offline(wanted: bool | None, model: ModelConfig, share: bool) -> bool:
    """Decide whether connections to other machines are refused.

    Args:
        wanted: ``--offline`` or ``--online``; None refuses them unless something below needs them.
        model: Whose weights may have to be fetched, and whose engine may be a server elsewhere.
        share: Whether a public link is to be made.

    Raises:
        ConfigError: If being offline is asked for together with something that needs others.
    """
    needs = _needs(model, share)
    if wanted and needs:
        raise ConfigError(f"--offline cannot be kept with {' and '.join(needs)}; leave one out.")
    return not needs if wanted is None else wanted


def _needs(model: ModelConfig, share: bool) -> list[str]:
    """Name the settings that need other machines."""
    weights = {
        key: getattr(model, key) for key in ("vit_weights", "q_former_model", "llm_model", "ckpt")
    }
    needs = [f"model.{key}={name}" for key, name in weights.items() if is_remote(name)]
    if model.engine == "vllm" and not is_local(urlsplit(model.engine_url).hostname or ""):
        needs.append(f"model.engine_url={model.engine_url}")
    return [*needs, "--share"] if share else needs
