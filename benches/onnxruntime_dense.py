#!/usr/bin/env python3
"""Times onnxruntime on the ONNX files of `bevfusion export`, on the CPU, as the peer of our CPU engine.

usage: onnxruntime_dense.py DIR [--threads 2] [--runs 5]

Prints one JSON object: file name -> best, median (ms) of the runs after one warm-up. Inputs are uniform random numbers of a fixed seed.
"""
import argparse
import json
import pathlib
import time

import numpy as np
import onnxruntime as ort


def feed(session, rng):
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    return {i.name: rng.random(i.shape).astype(kinds[i.type]) for i in session.get_inputs()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    results = {"onnxruntime": ort.__version__, "threads": arguments.threads, "networks": {}}
    for path in sorted(arguments.folder.glob("*.onnx")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = feed(session, np.random.default_rng(1))
        session.run(None, inputs)
        times = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            session.run(None, inputs)
            times.append(1e3 * (time.perf_counter() - start))
        results["networks"][path.stem] = {"best_ms": round(min(times), 2), "median_ms": round(float(np.median(times)), 2)}
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
