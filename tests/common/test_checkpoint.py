"""Checkpoint files: what is written is what is read, and a failure leaves the old file."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from skingpt4.common.checkpoint import (
    load_state,
    open_tensors,
    read_metadata,
    read_tensors,
    save_state,
    save_tensors,
)
from skingpt4.common.errors import WeightsError
from skingpt4.common.files import write_atomically


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


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def write_shards(folder, ending="safetensors"):
    names = {"a": f"model-1.{ending}", "b": f"model-2.{ending}"}
    for name, file in names.items():
        if ending == "safetensors":
            save_file({name: TENSORS[name]}, folder / file)
        else:
            torch.save({name: TENSORS[name]}, folder / file)
    stem = "model.safetensors" if ending == "safetensors" else "pytorch_model.bin"
    index = json.dumps({"weight_map": names})
    (folder / f"{stem}.index.json").write_text(index, encoding="utf-8")
    return folder


def safetensors_file(folder):
    save_file(TENSORS, folder / "x.safetensors")
    return folder / "x.safetensors"


def lavis_file(folder):
    torch.save({"model": TENSORS, "optimizer": {"step": 1}, "epoch": 3}, folder / "x.pth")
    return folder / "x.pth"


def legacy_file(folder):
    torch.save(TENSORS, folder / "x.pth", _use_new_zipfile_serialization=False)
    return folder / "x.pth"


def whole_folder(folder):
    save_file(TENSORS, folder / "model.safetensors")
    return folder


def bin_shards(folder):
    return write_shards(folder, "bin")


@pytest.mark.parametrize(
    "write",
    [safetensors_file, lavis_file, legacy_file, whole_folder, write_shards, bin_shards],
)
def test_every_form_opens_alike(tmp_path, write):
    source = open_tensors(write(tmp_path))
    assert source.shapes == {"a": (2, 3), "b": (4,)}
    assert source.dtypes == {"a": torch.float32, "b": torch.float16}
    assert sorted(source) == ["a", "b"]
    assert all(torch.equal(source[name], TENSORS[name]) for name in TENSORS)
    assert source.record == {}


@pytest.mark.parametrize("write", [safetensors_file, lavis_file])
def test_mappings_are_renewed_but_what_was_got_stays(tmp_path, write, monkeypatch):
    source = open_tensors(write(tmp_path))
    monkeypatch.setattr("skingpt4.common.checkpoint.SMALLEST_WINDOW", 0)
    got = [source["a"] for _ in range(20)]
    assert len({tensor.data_ptr() for tensor in got}) > 1
    assert all(torch.equal(tensor, TENSORS["a"]) for tensor in got)


def test_a_missing_shard_is_named(tmp_path):
    (write_shards(tmp_path) / "model-2.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks 1 of the 2 files .*\(model-2.safetensors\)"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"index .*index.json' is damaged"):
        open_tensors(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"holds neither model.safetensors .* nor pytorch_model"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"", "damaged or unsafe"),
        (b"\x00" * 64, "damaged or unsafe"),
        (b"PK\x03\x04" + b"\x01" * 64, "damaged or unsafe"),
        (pickle.dumps([1, 2])[:-1], "damaged or unsafe"),
        (bytes(range(256)), "damaged or unsafe"),
    ],
)
def test_what_lies_in_a_weight_files_place_is_told(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        open_tensors(tmp_path / name)


@pytest.mark.parametrize("write", [safetensors_file, lavis_file, legacy_file])
def test_truncated_files_are_refused(tmp_path, write):
    path = write(tmp_path)
    whole = path.read_bytes()
    for length in (1, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="damaged or unsafe"):
            open_tensors(path)
