#!/usr/bin/env python3
"""Checks exported ONNX files: the checker of the onnx package, opset, and onnxruntime against the CPU engine.

usage: check.py DIR   (written by `onnx-cases`: NAME.onnx and NAME.safetensors with `in.*`, `out.*` and, for
ranked proposals, `rank`)

Floats may differ by LIMIT of the largest value, integers not at all. Neighbouring proposals whose ranking values
are equal to float32 noise may change places.
"""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
from safetensors.numpy import load_file

OPSET = 17
LIMIT = 2e-5
TIE = 1e-6


def difference(got, want):
    """Over the largest value; infinite where integers differ."""
    if np.issubdtype(want.dtype, np.integer):
        return 0.0 if np.array_equal(got, want) else np.inf
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def without_swaps(got, want, rank):
    """`got` with neighbours put back that changed places although their ranking values are a tie; how many."""
    swaps = 0
    tied = np.abs(np.diff(rank)) <= TIE * np.abs(rank[:-1])
    for i in np.flatnonzero(tied):
        pair, swapped = [i, i + 1], [i + 1, i]
        away = [sum(np.abs(g[..., order] - w[..., pair]).sum() for g, w in zip(got, want)) for order in (pair, swapped)]
        if away[1] < away[0]:
            got = [g.copy() for g in got]
            for g in got:
                g[..., pair] = g[..., swapped]
            swaps += 1
    return got, swaps


def check(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opsets = {o.domain: o.version for o in model.opset_import}
    assert opsets == {"": OPSET}, f"{path}: opsets {opsets}, expected {OPSET} of the standard operators only"
    case = load_file(path.with_suffix(".safetensors"))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given, made = ({p.name for p in ports} for ports in (session.get_inputs(), session.get_outputs()))
    known = {f"in.{n}" for n in given} | {f"out.{n}" for n in made} | {"rank"} & case.keys()
    assert case.keys() == known, f"{path}: interface {sorted(known)}, the case has {sorted(case)}"
    names = sorted(made)
    got = session.run(names, {n: case[f"in.{n}"] for n in given})
    want = [case[f"out.{n}"] for n in names]
    for name, g, w in zip(names, got, want):
        assert (g.shape, g.dtype) == (w.shape, w.dtype), f"{path} {name}: {g.shape} {g.dtype}, the engine {w.shape} {w.dtype}"
        assert np.isfinite(w).all() and np.ptp(w) > 0, f"{path} {name}: values that compare nothing"
    swaps = 0
    if "rank" in case:
        got, swaps = without_swaps(got, want, case["rank"])
    worst = max(difference(g, w) for g, w in zip(got, want))
    print(f"{path.stem:<28} {len(model.graph.node):>5} nodes  worst difference / max {worst:.1e}  tied proposals swapped {swaps}")
    return worst <= LIMIT


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    assert files, f"no ONNX file in {sys.argv[1]}"
    failed = [f.name for f in files if not check(f)]
    if failed:
        sys.exit(f"onnxruntime and the CPU engine disagree by more than {LIMIT}: {failed}")
    print(f"{len(files)} ONNX files pass the checker and agree with the CPU engine")


if __name__ == "__main__":
    main()
