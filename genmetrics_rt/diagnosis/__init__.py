"""What is wrong with a model, in words: rules that read scores, features, pixels and training logs."""
