"""SHIPS: a trained network as files that run elsewhere. ONNX, int8, a card; no torch."""
