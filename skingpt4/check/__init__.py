"""Checks before a run: weights, memory and data, told before anything is loaded."""
