"""Models taken out of JAX: ONNX, StableHLO, and the gate that every artefact passes."""
