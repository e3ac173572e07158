"""House rules over the whole tree, read from its syntax; each rule is shown to catch its case."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "skingpt4"
SCRIPT_FOLDERS = (".", "dataset", "weights", "benchmarks")
LONGEST_FUNCTION = 60
DOCUMENTED = 0.9
ABSOLUTE_PATH = re.compile(r"(/(home|root|ibex|mnt|Users|scratch)(/|$))|([A-Z]:\\)")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def star_imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield node.lineno


def prints(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield node.lineno


def long_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= LONGEST_FUNCTION:
            yield node.lineno


def missing_module_docstring(tree):
    if not ast.get_docstring(tree):
        yield 1


def untyped_functions(tree):
    methods = {
        child for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body
    }
    for node in ast.walk(tree):
        if not isinstance(node, FUNCTIONS):
            continue
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
        typed = named[1:] if node in methods and not static else named
        if node.returns is None or any(argument.annotation is None for argument in typed):
            yield node.lineno


def absolute_paths(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if ABSOLUTE_PATH.match(node.value):
            yield node.lineno


def bare_excepts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
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


def public_definitions(tree):
    """Yield the public classes, functions and methods of a module."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def documented_share(trees):
    definitions = [node for tree in trees for node in public_definitions(tree)]
    return sum(ast.get_docstring(node) is not None for node in definitions) / len(definitions)


def scripts():
    return [path for folder in SCRIPT_FOLDERS for path in (PROJECT / folder).glob("*.py")]


def sources(with_scripts=True):
    return sorted([*PACKAGE.rglob("*.py"), *(scripts() if with_scripts else [])])


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


EVERYWHERE = [
    star_imports,
    long_functions,
    missing_module_docstring,
    untyped_functions,
    absolute_paths,
    bare_excepts,
    unsafe_torch_loads,
]


@pytest.mark.parametrize("rule", EVERYWHERE)
def test_rule_holds_in_the_whole_tree(rule):
    files = sources()
    assert len(files) > 20
    found = [f"{path.relative_to(PROJECT)}:{line}" for path in files for line in rule(parse(path))]
    assert found == []


def test_the_package_does_not_print():
    found = [f"{path}:{line}" for path in sources(False) for line in prints(parse(path))]
    assert found == []


def test_public_definitions_are_documented():
    assert documented_share(map(parse, sources())) >= DOCUMENTED


def test_no_configuration_holds_an_absolute_path():
    folders = ("skingpt4/configs", "train_configs", "eval_configs")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.yaml")]
    assert files
    for path in files:
        for word in re.split(r"[\s\"']+", path.read_text(encoding="utf-8")):
            assert not ABSOLUTE_PATH.match(word), f"{path.relative_to(PROJECT)}: {word}"


LONG = "def f() -> None:\n" + "    x = 1\n" * LONGEST_FUNCTION


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (star_imports, "from os import *"),
        (star_imports, "def f():\n    from os.path import *"),
        (prints, "def f():\n    print('hello')"),
        (long_functions, LONG),
        (long_functions, "class A:\n" + LONG.replace("\n", "\n    ").replace("def", "    def")),
        (missing_module_docstring, "import os\n'''Late.'''"),
        (untyped_functions, "def f(x: int): ..."),
        (untyped_functions, "def f(x) -> int: ..."),
        (untyped_functions, "def f(*x, y: int) -> int: ..."),
        (untyped_functions, "def f(*, x) -> int: ..."),
        (untyped_functions, "class A:\n    def f(self, x) -> int: ..."),
        (untyped_functions, "class A:\n    @staticmethod\n    def f(x) -> int: ..."),
        (untyped_functions, "def f() -> int:\n    def g(): ..."),
        (absolute_paths, "PATH = '/home/anna/data'"),
        (absolute_paths, "PATH = f'/mnt/{name}'"),
        (absolute_paths, "def f(path='/ibex/x'): ..."),
        (absolute_paths, r"PATH = 'C:\\data'"),
        (bare_excepts, "try:\n    f()\nexcept:\n    pass"),
        (unsafe_torch_loads, "torch.load(path)"),
        (unsafe_torch_loads, "torch.load(path, weights_only=False)"),
        (unsafe_torch_loads, "from torch import load as read\nread(path)"),
    ],
)
def test_rule_catches(rule, source):
    assert len(list(rule(ast.parse(source)))) == 1


CLEAN = '''"""A module."""
from os import path
def f(x: int, *y: str, z: float = 1.0, **rest: int) -> None:
    """Do nothing."""
    try:
        logger.info("see /home for print()")
    except Exception:
        torch.load(path, map_location="cpu", weights_only=True)
class A:
    """A class."""
    def g(self, x: int) -> None: ...
    @staticmethod
    def h(x: int) -> None: ...
'''


@pytest.mark.parametrize("rule", [*EVERYWHERE, prints])
def test_rule_passes_a_clean_module(rule):
    assert list(rule(ast.parse(CLEAN))) == []


def test_documented_share_counts_public_definitions_only():
    assert documented_share([ast.parse(CLEAN)]) == pytest.approx(2 / 4)
    assert documented_share([ast.parse("def _f(): ...\ndef g():\n    '''Go.'''")]) == 1
