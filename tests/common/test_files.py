"""Files are written whole or not at all, and read up to where a crash cut them."""

import hashlib

import pytest

from skingpt4.common.files import (
    read_json_lines,
    sha256_of,
    write_atomically,
    write_json_lines,
    write_text,
)


def test_json_lines_come_back_without_a_torn_last_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "scale\u2028plaque"}, {"text": "屑"}]
    write_json_lines(path, rows)
    assert read_json_lines(path) == rows
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_json_lines(path) == rows[: whole[:length].count(b"\n")]


def test_a_damaged_line_before_the_last_is_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1\n{"a": 2}\n')
    with pytest.raises(ValueError, match="Expecting"):
        read_json_lines(tmp_path / "rows.jsonl")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t.txt"
    write_text(path, "old\r\n")

    def fail(file):
        file.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old\r\n"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = b"skin" * 2**19
    (tmp_path / "x").write_bytes(content)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(content).hexdigest()
