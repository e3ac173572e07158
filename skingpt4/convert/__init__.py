"""Converting public and own data into sets that can be trained on."""
