"""Checkpoint files: what is written is what is read, and a failure leaves the old file."""

import pytest
import torch

from skingpt4.common.checkpoint import (
    load_state,
    read_metadata,
    read_tensors,
    save_state,
    save_tensors,
    write_atomically,
)
from skingpt4.common.errors import WeightsError


def test_tensors_and_record_come_back(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(3, 2).T}
    save_tensors(path, tensors, {"epoch": 3, "note": "é"})
    read = read_tensors(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert read_metadata(path) == {"epoch": 3, "note": "é"}
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_files_of_others_have_no_record(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pth")
    assert read_metadata(tmp_path / "model.pth") == {}


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, {"step": 1})

    def fail(file):
        file.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert load_state(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match=r"x.safetensors' is damaged or unsafe"):
        read_tensors(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"training state .* cannot be read"):
        load_state(tmp_path / "absent.pt")
