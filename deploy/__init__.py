"""Exports a trained network for other machines: ONNX, int8, a card. Does not import torch."""
