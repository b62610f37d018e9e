#!/usr/bin/env python3
"""Checks exported ONNX files: the checker of the onnx package, opset, and onnxruntime against the CPU engine.

usage: check.py DIR   (written by `onnx-cases`: NAME.onnx and NAME.safetensors with `in.*` and `out.*`)
"""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
from safetensors.numpy import load_file

LIMIT = 2e-5


def check(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opsets = {o.domain: o.version for o in model.opset_import}
    assert opsets[""] >= 17, f"{path}: opset {opsets}"
    case = load_file(path.with_suffix(".safetensors"))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {i.name: case[f"in.{i.name}"] for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]
    worst = 0.0
    for name, got in zip(outputs, session.run(outputs, inputs)):
        want = case[f"out.{name}"]
        assert got.shape == want.shape, f"{path} {name}: {got.shape} from onnxruntime, {want.shape} from the engine"
        got, want = got.astype(np.float64), want.astype(np.float64)
        worst = max(worst, float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)))
    print(f"{path.stem:<32} {len(model.graph.node):>5} nodes  opset {opsets['']}  worst difference / max {worst:.2e}")
    return worst <= LIMIT


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    assert files, f"no ONNX file in {sys.argv[1]}"
    failed = [f.name for f in files if not check(f)]
    if failed:
        sys.exit(f"onnxruntime and the CPU engine disagree by more than {LIMIT}: {failed}")


if __name__ == "__main__":
    main()
