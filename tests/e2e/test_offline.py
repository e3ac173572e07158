"""A whole visit with no network but loopback: everything works, and nothing tries to get out."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

from tests.conftest import PROJECT

ALONE = ["unshare", "--map-root-user", "--net"]


@cache
def may_be_alone():
    """Tell whether this machine lets us have a network namespace of our own."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not may_be_alone(), reason="`unshare --map-root-user --net` is not permitted here"
)


def test_nothing_leaves_during_a_visit(tmp_path):
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.e2e.offline_visit"],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["page"] == 200
    assert "Answer about photo 1." in seen["answer"]
    assert "<table" in seen["opinion"]
    assert "data:image/jpeg;base64," in seen["evidence"]
    assert "data:application/" in seen["report"]
    assert seen["refused"] == []
    assert (seen["unrouted"], seen["unrouted_then"]) == (0, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
