"""The drawn cases, and one embedded model for all tests of the evaluation."""

import pytest
import torch

from skingpt4.conversation.chat import load_chat
from skingpt4.evaluation.commands.options import builtin_cases
from tests.conftest import PROJECT


@pytest.fixture(scope="session")
def drawn_cases(tmp_path_factory):
    """Draw the 150 built-in cases."""
    return builtin_cases(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="session")
def batch_chat():
    """Load the embedded model."""
    config = PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml"
    return load_chat(config, device=torch.device("cpu"))
