"""The model: vision tower, Q-Former, projection and language model."""
