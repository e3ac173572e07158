"""House rules that neither ruff nor import-linter knows; each is shown to catch its case."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT_FOLDERS = (".", "dataset", "weights", "benchmarks", "tools")
CONFIG_FOLDERS = ("skingpt4/configs", "skingpt4/data", "train_configs", "eval_configs")
ABSOLUTE_PATH = re.compile(r"(/(home|root|ibex|mnt|Users|scratch)(/|$))|([A-Z]:\\)")


def absolute_paths(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if ABSOLUTE_PATH.match(node.value):
            yield node.lineno


def unsafe_torch_loads(tree):
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "torch"
        for alias in node.names
        if alias.name == "load"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", *imported}:
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if given.get("weights_only") != "True":
                yield node.lineno


RULES = [absolute_paths, unsafe_torch_loads]


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds_in_the_whole_tree(rule):
    scripts = [path for folder in SCRIPT_FOLDERS for path in (PROJECT / folder).glob("*.py")]
    files = sorted([*(PROJECT / "skingpt4").rglob("*.py"), *scripts])
    assert len(files) > 100
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for path in files
        for line in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_no_configuration_holds_an_absolute_path():
    files = [path for folder in CONFIG_FOLDERS for path in (PROJECT / folder).rglob("*.yaml")]
    assert len(files) > 20
    for path in files:
        for word in re.split(r"[\s\"']+", path.read_text(encoding="utf-8")):
            assert not ABSOLUTE_PATH.match(word), f"{path.relative_to(PROJECT)}: {word}"


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (absolute_paths, "PATH = '/home/anna/data'"),
        (absolute_paths, "PATH = f'/mnt/{name}'"),
        (absolute_paths, "def f(path='/ibex/x'): ..."),
        (absolute_paths, r"PATH = 'C:\\data'"),
        (unsafe_torch_loads, "torch.load(path)"),
        (unsafe_torch_loads, "torch.load(path, weights_only=False)"),
        (unsafe_torch_loads, "from torch import load as read\nread(path)"),
    ],
)
def test_rule_catches(rule, source):
    assert len(list(rule(ast.parse(source)))) == 1


@pytest.mark.parametrize("rule", RULES)
def test_rule_passes_what_is_right(rule):
    clean = 'logger.info("see /home")\ntorch.load(path, map_location="cpu", weights_only=True)\n'
    assert list(rule(ast.parse(clean))) == []
