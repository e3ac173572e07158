"""Training data: folders with annotations, WebDataset shards, and the loaders that mix them."""
