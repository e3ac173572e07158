"""Lowest layer: registry, configuration, logging, checkpoints, schedules, errors."""
