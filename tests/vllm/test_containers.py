"""What can be told of the container files without building them."""

import shlex
from pathlib import Path

import pytest
import yaml

from skingpt4.common.config import Config
from tests.conftest import PROJECT

FOLDER = PROJECT / "containers"


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]


def overrides(command):
    return command[command.index("--options") + 1 :]


def test_the_pages_options_are_keys_of_ours(services):
    options = [option for option in overrides(services["demo"]["command"]) if "$" not in option]
    assert options == ["model.engine=vllm", "model.engine_url=http://vllm:8000"]
    model = Config.load(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml", options).model
    assert model.engine_url.startswith("http://vllm:")
    assert "vllm" in services


def test_nothing_is_reachable_from_other_machines_and_the_server_has_no_way_out(services):
    networks = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["networks"]
    assert networks["engine"] == {"internal": True}
    assert services["vllm"]["networks"] == ["engine"]
    assert "ports" not in services["vllm"]
    assert [port.rpartition(":")[0] for port in services["demo"]["ports"]] == ["127.0.0.1:7860"]


def test_the_server_is_one_without_the_known_holes(services):
    version = services["vllm"]["image"].rpartition(":v")[2]
    assert [int(part) for part in version.split(".")] >= [0, 26]
    assert "--enable-prompt-embeds" in services["vllm"]["command"]


def test_the_image_is_made_of_files_that_exist():
    lines = (FOLDER / "Containerfile").read_text(encoding="utf-8").splitlines()
    copies = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY")]
    assert all((PROJECT / name).exists() for names in copies for name in names)
    ignored = Path(PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv*", "output"} <= set(ignored)
