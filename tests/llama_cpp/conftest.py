"""The embedded model with its language model in llama.cpp, beside the same in this process."""

import pytest

from skingpt4.conversation.chat import load_chat
from tests.conftest import PROJECT

CONFIG = PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml"
LLM = PROJECT / "weights" / "skingpt4-tiny" / "llm"
REASON = "the extra is not installed; make test-llama-cpp installs it and runs these"


@pytest.fixture(scope="session", autouse=True)
def extra():
    """Skip everything here, with the reason, where the extra is not installed."""
    pytest.importorskip("llama_cpp", reason=REASON)


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    """Write the embedded language model as a kind of GGUF file, once; return its path."""
    from skingpt4.export.gguf import export_gguf

    folder = tmp_path_factory.mktemp("gguf")

    def write(kind):
        path = folder / f"tiny-{kind}.gguf"
        if not path.exists():
            export_gguf(str(LLM), path, kind)
        return path

    return write


@pytest.fixture(scope="session")
def llama_cpp_chat(gguf):
    """Load the embedded model with a kind of GGUF file."""

    def load(kind, **keys):
        settings = {"engine": "llama_cpp", "llm_model": gguf(kind), **keys}
        return load_chat(CONFIG, [f"model.{k}={v}" for k, v in settings.items()], "cpu")

    return load


@pytest.fixture(scope="session")
def exact(llama_cpp_chat):
    return llama_cpp_chat("f32")


@pytest.fixture(scope="session")
def reference():
    return load_chat(CONFIG, device="cpu")
