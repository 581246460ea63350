"""All side effects of a run: settings, files, time, signals. Does not import torch."""
