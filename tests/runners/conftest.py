"""Small runs: folders and shards of generated photos, in this process or in forked ones."""

import dataclasses
import io
import json
import multiprocessing
import os
import signal
import socket
import threading
import traceback

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from tqdm import tqdm
from webdataset import TarWriter

from skingpt4.common.config import Config
from skingpt4.common.schema import BuildInfo, DatasetConfig, RunConfig
from skingpt4.runners import RunnerBase
from skingpt4.tasks import ImageTextPretrainTask

ANSWERS = ("This could be psoriasis.", "Plaque.", "This is a skin disease image of acne on skin.")
PROCESSOR = {"train": {"name": "blip2_image_train", "image_size": 28}}
CHILD_SECONDS = 120
LAST = "checkpoint_last.safetensors"


def photo(rng, path):
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path, "JPEG")


def write_folder(folder, count, seed=0):
    (folder / "image").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        photo(rng, folder / "image" / f"{number}.jpg")
        rows.append({"image_id": str(number), "caption": ANSWERS[number % len(ANSWERS)]})
    (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}), encoding="utf-8")
    return folder


@pytest.fixture(scope="package")
def photo_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "photos", 10)


@pytest.fixture(scope="package")
def val_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "val", 5, seed=1)


@pytest.fixture(scope="package")
def shards(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(2)
    for shard in range(2):
        with TarWriter(str(folder / f"{shard}.tar")) as writer:
            for number in range(6):
                buffer = io.BytesIO()
                photo(rng, buffer)
                caption = {"caption": ANSWERS[number % len(ANSWERS)]}
                key = f"{shard}{number}"
                writer.write({"__key__": key, "jpg": buffer.getvalue(), "json": caption})
    return f"{folder}/{{0..1}}.tar"


def images(storage, **settings):
    info = BuildInfo(storage=str(storage), validation=str(settings.pop("validation", "")))
    return DatasetConfig(build_info=info, vis_processor=PROCESSOR, **settings)


@pytest.fixture
def make_config(model_config, photo_folder, tmp_path):
    def make(freeze=True, datasets=None, **changes):
        run = RunConfig(
            init_lr=1e-2,
            min_lr=1e-3,
            max_epoch=2,
            iters_per_epoch=3,
            num_workers=0,
            batch_size_train=4,
            output_dir=str(tmp_path / "out"),
            device="cpu",
            tensorboard=False,
        )
        model = dataclasses.replace(
            model_config, freeze_vit=freeze, freeze_qformer=freeze, freeze_llm=freeze
        )
        return Config(
            model=model,
            datasets=datasets or {"skin_align": images(photo_folder)},
            run=dataclasses.replace(run, **changes),
        )

    return make


def build_runner(config):
    for state in (GradientState, AcceleratorState, PartialState):
        state._reset_state()
    task = ImageTextPretrainTask()
    torch.manual_seed(0)
    model = task.build_model(config)
    return RunnerBase(config, task, model, task.build_datasets(config))


@pytest.fixture
def make_runner(make_config):
    return lambda *args, **changes: build_runner(make_config(*args, **changes))


def encoded(runner, batch):
    """Add what a loading process makes of a batch's texts."""
    return batch | runner.accelerator.unwrap_model(runner.model).dialogue_encoder(batch)


def stop_after(runner, steps):
    """Send this process SIGTERM while it takes its step number `steps`."""
    step = runner.updater.step

    def stepping(batches):
        if runner.progress.step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batches)

    object.__setattr__(runner.updater, "step", stepping)


def start_children(function, count=1):
    """Start forked processes that share a gloo group; they begin where this one has imported."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_in_child, args=(function, rank, count, port))
        for rank in range(count)
    ]
    for child in children:
        child.start()
    return children


def run_children(function, count=1):
    children = start_children(function, count)
    for child in children:
        child.join(CHILD_SECONDS)
        if child.is_alive():
            child.kill()
    assert [child.exitcode for child in children] == [0] * count


def _in_child(function, rank, count, port):
    torch.set_num_threads(1)
    # Its own lock is shared by all forked processes: one killed while it draws would block all.
    tqdm.set_lock(threading.RLock())
    if count > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    code = 1
    try:
        function(rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)
