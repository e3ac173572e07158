"""How the package is built: sizes, comments, the import chain, names, types, repetition.

``make measure`` prints one row a figure, beside its aim, and exits with 1 if an aim is missed.
``--folders`` prints sizes by folder, ``--list FOLDER`` the functions of a folder that are used once
or only pass a call on.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "skingpt4"
WINDOW = 6
"""Lines in a row that count as repeated where they stand a second time."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Module:
    """One file of the package, parsed."""

    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method, nested ones included."""
        return [node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS)]

    @cached_property
    def lines(self) -> int:
        """All lines."""
        return self.text.count("\n")

    @cached_property
    def comments(self) -> int:
        """Lines that hold a comment, alone or behind code."""
        return len({token.start[0] for token in self._tokens if token.type == tokenize.COMMENT})

    @cached_property
    def code(self) -> list[int]:
        """Numbers of the lines that are code: no docstring, comment or blank line."""
        lines: set[int] = set()
        for token in self._tokens:
            if token.type not in LAYOUT and token.type != tokenize.COMMENT:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node):
                docstring = node.body[0]
                lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
        return sorted(lines)

    @cached_property
    def _tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))


def read_modules(root: Path) -> list[Module]:
    """Parse every Python file below a folder."""
    paths = sorted(root.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return [Module(*pair, ast.parse(pair[1])) for pair in zip(paths, texts, strict=True)]


def longest_chain(package: str) -> list[str]:
    """Return the longest path of imports, from the module that imports to the one at its end."""
    # Imports for the type checker alone do not count: no reader of the running code meets them.
    graph = grimp.build_graph(package, exclude_type_checking_imports=True)
    below = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    chains: dict[str, list[str]] = {}
    # Imported modules come first, so each one's own longest chain is known when it is needed.
    for name in TopologicalSorter(below).static_order():
        chains[name] = [name, *max((chains[target] for target in below[name]), key=len, default=[])]
    return max(chains.values(), key=len)


def shared_names(modules: list[Module]) -> list[Path]:
    """Return the files whose name another file of the package bears too; ``__init__`` apart."""
    names = Counter(module.path.stem for module in modules)
    return [m.path for m in modules if m.path.stem != "__init__" and names[m.path.stem] > 1]


def shared_types(modules: list[Module]) -> list[str]:
    """Return the names of classes and type aliases that several modules define."""
    names: Counter[str] = Counter()
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                names[node.name] += 1
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                alias = node.targets[0].id
                names[alias] += alias[0].isupper() and not alias.isupper()
    return [name for name, count in names.items() if count > 1]


def length(function: Function) -> int:
    """Count a function's lines, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def is_typed(function: Function) -> bool:
    """Tell whether a function's result and all its parameters, ``self`` apart, have a type."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    untyped = [a.arg for a in named if a and a.annotation is None and a.arg not in {"self", "cls"}]
    return function.returns is not None and not untyped


def public_definitions(tree: ast.AST) -> Iterator[ast.ClassDef | Function]:
    """Yield a module's public classes, functions and methods."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def repeated_share(modules: list[Module]) -> float:
    """Return the share of code lines that stand in a run of `WINDOW` lines found twice or more."""
    windows: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, module in enumerate(modules):
        text = module.text.splitlines()
        code = [text[number - 1].strip() for number in module.code]
        code = [line for line in code if not line.startswith(("import ", "from "))]
        for start in range(len(code) - WINDOW + 1):
            windows[tuple(code[start : start + WINDOW])].append((index, start))
    repeated = {
        (index, start + offset)
        for places in windows.values()
        if len(places) > 1
        for index, start in places
        for offset in range(WINDOW)
    }
    return len(repeated) / sum(len(module.code) for module in modules)


def used_once(module: Module) -> list[Function]:
    """Return a module's private functions that one place uses."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.Name, ast.Attribute))
    )
    return [
        function
        for function in module.functions
        if function.name.startswith("_")
        and not function.name.startswith("__")
        and uses[function.name] == 1
    ]


def pass_throughs(module: Module) -> list[Function]:
    """Return the functions that hand their own parameters to one call and do nothing else."""
    found = []
    for function in module.functions:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        match body:
            case [ast.Return(value=ast.Call() as call)] | [ast.Expr(value=ast.Call() as call)]:
                names = {argument.arg for argument in function.args.args} - {"self", "cls"}
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                if given and all(isinstance(a, ast.Name) and a.id in names for a in given):
                    found.append(function)
    return found


def folder_table(modules: list[Module]) -> str:
    """Return sizes by folder."""
    folders: dict[str, list[Module]] = defaultdict(list)
    for module in modules:
        folders[module.path.parent.relative_to(PROJECT).as_posix()].append(module)
    lines = [f"{'folder':34}files  lines  functions a 100  comments a 100  used once"]
    for folder, inside in sorted(folders.items()):
        size = sum(module.lines for module in inside)
        functions = sum(len(module.functions) for module in inside)
        comments = sum(module.comments for module in inside)
        code = sum(len(module.code) for module in inside) or 1
        once = sum(len(used_once(module)) for module in inside)
        lines.append(
            f"{folder:34}{len(inside):5}{size:7}{100 * functions / size:17.1f}"
            f"{100 * comments / code:16.1f}{once:11}"
        )
    return "\n".join(lines)


def listing(modules: list[Module], folder: Path) -> str:
    """Return the functions below a folder that are used once or only pass a call on."""
    lines = []
    for module in modules:
        if folder not in module.path.parents and folder != module.path:
            continue
        rows = [(f, "used once") for f in used_once(module)]
        rows += [(f, "passes a call on") for f in pass_throughs(module)]
        lines += [
            f"{module.path.relative_to(PROJECT)}:{f.lineno} {f.name} ({length(f)} lines): {why}"
            for f, why in sorted(rows, key=lambda row: row[0].lineno)
        ]
    return "\n".join(lines)


def measure(modules: list[Module]) -> list[tuple[str, str, str, bool]]:
    """Return rows of figure, value, aim, and whether the aim holds."""
    functions = [function for module in modules for function in module.functions]
    public = [node for module in modules for node in public_definitions(module.tree)]
    lines = sum(module.lines for module in modules)
    code = sum(len(module.code) for module in modules)
    per_folder = Counter(module.path.parent for module in modules)
    chain = len(longest_chain(PACKAGE))
    density = 100 * len(functions) / lines
    comments = 100 * sum(module.comments for module in modules) / code
    longest = max(map(length, functions))
    shared, types = len(shared_names(modules)), len(shared_types(modules))
    typed = sum(map(is_typed, functions)) / len(functions)
    documented = sum(ast.get_docstring(node) is not None for node in public) / len(public)
    once = sum(len(used_once(module)) for module in modules)
    passing = sum(len(pass_throughs(module)) for module in modules)
    repeated = repeated_share(modules)
    largest = max(per_folder.values())
    return [
        ("lines of Python", f"{lines:,}", "≤ 28,000", lines <= 28_000),
        ("files", str(len(modules)), "≤ 155", len(modules) <= 155),
        ("files in the largest folder", str(largest), "≤ 15", largest <= 15),
        ("files that share a base name", str(shared), "≤ 10", shared <= 10),
        ("types that share a name", str(types), "0", types == 0),
        ("longest chain of imports", str(chain), "≤ 12", chain <= 12),
        ("functions per 100 lines", f"{density:.2f}", "≤ 4.2", density <= 4.2),
        ("comments per 100 lines of code", f"{comments:.1f}", "≥ 8", comments >= 8),
        ("longest function, lines", str(longest), "≤ 60", longest <= 60),
        ("private functions used once", str(once), "≤ 150", once <= 150),
        ("functions that pass a call on", str(passing), "≤ 20", passing <= 20),
        ("typed functions", f"{typed:.1%}", "100 %", typed == 1),
        ("documented public definitions", f"{documented:.1%}", "≥ 90 %", documented >= 0.9),
        ("repeated lines of code", f"{repeated:.2%}", "≤ 3 %", repeated <= 0.03),
    ]


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folders", action="store_true", help="sizes by folder")
    parser.add_argument("--list", type=Path, metavar="FOLDER", help="functions to look at")
    args = parser.parse_args()
    modules = read_modules(PROJECT / PACKAGE)
    if args.folders:
        print(folder_table(modules))
    elif args.list:
        print(listing(modules, args.list.resolve()))
    else:
        rows = measure(modules)
        for name, value, aim, holds in rows:
            print(f"{name:34}{value:>10}  {aim:10}{'' if holds else 'missed'}")
        sys.exit(not all(holds for *_, holds in rows))


if __name__ == "__main__":
    main()
