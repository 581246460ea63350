"""Images: data sets, folds, metrics, the embedded flowers."""
