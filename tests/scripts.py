"""Running scripts as a user does: in this process, sparing the imports, or in one of its own."""

import os
import runpy
import subprocess
import sys

from tests.conftest import PROJECT


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
