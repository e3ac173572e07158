"""The measures of the house: each counts what it says, and the aims hold."""

import ast

import measure as module
import pytest

SOURCE = '''"""A module.

# no comment, but part of the docstring
"""
import os  # for its side effect


class Part:
    """A part."""

    def public(self, name: str) -> str:
        """Return it."""
        # Why.
        return self._once(name)

    def _once(self, name: str) -> str:
        return os.fspath(name)


def untyped(x):
    return 2 * x
'''


def read(source, name="m.py"):
    return module.Module(module.PROJECT / "skingpt4" / name, source, ast.parse(source))


def test_lines_comments_and_code_are_counted_apart():
    made = read(SOURCE)
    assert (made.lines, made.comments, len(made.code)) == (SOURCE.count("\n"), 2, 8)
    assert [f.name for f in made.functions] == ["untyped", "public", "_once"]


def test_types_and_documentation_are_counted():
    made = read(SOURCE)
    assert [f.name for f in made.functions if not module.is_typed(f)] == ["untyped"]
    public = list(module.public_definitions(made.tree))
    assert [node.name for node in public] == ["Part", "public", "untyped"]


def test_a_private_function_used_once_is_found_and_one_used_twice_is_not():
    assert [f.name for f in module.used_once(read(SOURCE))] == ["_once"]
    assert module.used_once(read(SOURCE + "\nPart()._once('x')\n")) == []


def test_a_function_that_only_passes_a_call_on_is_found():
    assert [f.name for f in module.pass_throughs(read(SOURCE))] == ["public", "_once"]


def test_shared_base_names_leave_packages_out():
    files = ["a/cli.py", "b/cli.py", "a/__init__.py", "b/__init__.py", "a/photo.py"]
    found = module.shared_names([read("", name) for name in files])
    assert [path.name for path in found] == ["cli.py", "cli.py"]


def test_a_type_name_that_two_modules_define_is_found():
    ours, theirs = (
        read("class Case: ...\nTurn = tuple[str, str]\nSIZE = 3\n"),
        read("Case = dict\n"),
    )
    assert module.shared_types([ours, read("Turns = list\nSIZE = 4\n")]) == []
    assert module.shared_types([ours, theirs]) == ["Case"]


def test_repetition_is_the_share_of_lines_in_runs_that_stand_twice():
    run = "".join(f"x{i} = {i}\n" for i in range(module.WINDOW))
    assert module.repeated_share([read(run), read(run)]) == 1
    assert module.repeated_share([read(run), read(run.replace("x3", "y3"))]) == 0
    assert module.repeated_share([read(run + "y = 1\n" * 2), read(run)]) == pytest.approx(12 / 14)


def test_the_longest_chain_ends_at_a_module_that_imports_nothing_of_ours():
    chain = module.longest_chain("skingpt4")
    assert len(set(chain)) == len(chain) > 3
    assert chain[-1].startswith("skingpt4.common.")


def test_the_aims_hold():
    rows = module.measure(module.read_modules(module.PROJECT / "skingpt4"))
    assert len(rows) > 10
    assert [row for row in rows if not row[-1]] == []
