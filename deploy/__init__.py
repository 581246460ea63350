"""Exports a trained network for other machines: ONNX, int8, a card.

Only `delivery.export` loads torch.
"""
