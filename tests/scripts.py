"""Running scripts as a user does, in this process or in one of its own, or loading one to test."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT


def load_script(script):
    """Load a script as a module; its ``main`` is not run."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(script).stem}", PROJECT / script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run_here(script, *arguments):
    """Run a script in this process; return its exit code, 0 where it ends by itself."""
    before, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        runpy.run_path(str(PROJECT / script), run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = before
    return 0


def run_script(script, *arguments, cwd=PROJECT, launcher=(sys.executable,), **environment):
    """Run a script in a process of its own; return what it printed and how it ended."""
    return subprocess.run(
        [*launcher, str(PROJECT / script), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
