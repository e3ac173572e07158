"""Automatic scores and the statistics behind every figure."""
