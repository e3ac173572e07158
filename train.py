"""Train SkinGPT-4: ``python train.py --cfg-path train_configs/tiny_stage1_concept.yaml``."""

import argparse
import logging
import os

from skingpt4.check.preflight import preflight
from skingpt4.common.cli import (
    add_check_argument,
    add_config_arguments,
    finish_check,
    run_script,
    setup_logger,
)
from skingpt4.common.config import Config
from skingpt4.common.registry import registry
from skingpt4.models.device import best_device
from skingpt4.runners.feature_cache import cache_features


def main() -> None:
    """Read the config, build the task's parts, train; or only check."""
    parser = argparse.ArgumentParser(description="Train SkinGPT-4.")
    add_config_arguments(parser)
    add_check_argument(parser)
    args = parser.parse_args()
    # Of several processes, the first alone reports; all warn.
    setup_logger(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    config = Config.load(args.cfg_path, args.options)
    if args.check:
        device = "cpu" if config.run.device == "cpu" else best_device()
        finish_check(preflight(config, device, training=True))
    task = registry.get_task_class(config.run.task)()
    datasets = task.build_datasets(config)
    if config.run.cache_features:
        datasets = cache_features(config, datasets)
    model = task.build_model(config)
    runner = registry.get_runner_class(config.run.runner)(config, task, model, datasets)
    runner.train()


if __name__ == "__main__":
    run_script(main)
