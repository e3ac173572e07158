"""Imports point down only: no module imports a higher layer, a neighbour of its layer, or a cycle.

Imports inside functions count as well, and those by name through ``import_module``.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "skingpt4"
LAYERS = {
    "common": -1,
    "dermatology": 0,
    "processors": 1,
    "prompts": 1,
    "synthetic": 1,
    "data": 0,
    "labeler": 1,
    "documents": 1,
    "convert": 2,
    "export": 3,
    "check": 3,
    "models": 2,
    "datasets": 2,
    "tasks": 3,
    "conversation": 3,
    "runners": 4,
    "demo": 4,
    "evaluation": 4,
}
SCRIPTS = 5
# What the scripts of a folder share.
SHARED = {"machine": 4, "talk": 4}
SCRIPT_FOLDERS = (".", "dataset", "weights", "benchmarks")


def find_modules(root):
    """Map dotted names to files: the package's modules, and the scripts by their file names."""
    modules = {}
    for path in (root / PACKAGE).rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    for folder in SCRIPT_FOLDERS:
        modules |= {path.stem: path for path in (root / folder).glob("*.py")}
    return modules


def imported_names(tree, package):
    """Yield every dotted name that a module of `package` imports, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def closest(name, modules):
    """Return the module that a dotted name is, or is an attribute of."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def import_graph(root):
    """Map each module to those it imports."""
    modules = find_modules(root)
    graph = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        names = imported_names(ast.parse(path.read_text(encoding="utf-8")), package)
        graph[name] = {closest(target, modules) for target in names} - {"", PACKAGE, name}
    return graph


def unit(module):
    """Return the part of the package that a module belongs to; a script is a part of its own."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


def layer(module):
    if module.split(".")[0] != PACKAGE:
        return SHARED.get(module, SCRIPTS)
    return -1 if module == PACKAGE else LAYERS[unit(module)]


def violations(root):
    """List what breaks the rule, one sentence each."""
    graph = import_graph(root)
    inside = [name for name in graph if name.startswith(PACKAGE + ".")]
    unplaced = sorted({unit(name) for name in inside} - set(LAYERS))
    if unplaced:
        return [f"{name} has no layer; add it to the table" for name in unplaced]
    found = [
        f"{name} (layer {layer(name)}) imports {target} (layer {layer(target)})"
        for name, targets in graph.items()
        for target in sorted(targets)
        if unit(target) != unit(name) and layer(target) >= layer(name)
    ]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("circular: " + " <- ".join(error.args[1]))
    return found


def test_the_projects_imports_point_down_only():
    assert len(import_graph(PROJECT)) > 20
    assert violations(PROJECT) == []


@pytest.fixture
def tree(tmp_path):
    """Write a made-up package: file names to sources, over one clean module of each layer."""

    def write(files):
        clean = {
            f"{PACKAGE}/__init__.py": "",
            f"{PACKAGE}/common/errors.py": "import os",
            f"{PACKAGE}/models/vision.py": f"from {PACKAGE}.common.errors import UserError",
            f"{PACKAGE}/runners/runner.py": f"from {PACKAGE}.models import vision",
            "train.py": f"import {PACKAGE}.runners.runner",
        }
        for name, source in (clean | files).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(source, encoding="utf-8")
        return violations(tmp_path)

    return write


def test_a_clean_tree_passes(tree):
    assert tree({}) == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("from skingpt4.runners.runner import Runner", "skingpt4.runners.runner (layer 4)"),
        ("import skingpt4.runners.runner as r", "skingpt4.runners.runner (layer 4)"),
        ("from skingpt4.runners import runner", "skingpt4.runners.runner (layer 4)"),
        ("from ..runners import runner", "skingpt4.runners.runner (layer 4)"),
        ("from ..runners.runner import Runner", "skingpt4.runners.runner (layer 4)"),
        ("def f():\n    from skingpt4.runners.runner import Runner", "skingpt4.runners.runner"),
        ("if TYPE_CHECKING:\n    from skingpt4.runners import runner", "skingpt4.runners.runner"),
        ("importlib.import_module('skingpt4.runners.runner')", "skingpt4.runners.runner"),
        ("from train import main", "train (layer 5)"),
        ("from skingpt4.datasets.shards import x", "skingpt4.datasets.shards (layer 2)"),
    ],
)
def test_an_upward_or_sideways_import_is_caught(tree, source, target):
    found = tree({"skingpt4/models/llm.py": source, "skingpt4/datasets/shards.py": ""})
    assert len(found) == 1
    assert found[0].startswith("skingpt4.models.llm (layer 2) imports " + target)


def test_a_cycle_within_a_layer_is_caught(tree):
    files = {
        "skingpt4/models/a.py": "from skingpt4.models.b import x",
        "skingpt4/models/b.py": "def f():\n    from skingpt4.models import a",
    }
    (found,) = tree(files)
    assert found.startswith("circular: skingpt4.models.")


def test_a_part_without_a_layer_is_caught(tree):
    assert tree({"skingpt4/extras/x.py": ""}) == ["extras has no layer; add it to the table"]
