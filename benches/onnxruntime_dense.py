#!/usr/bin/env python3
"""onnxruntime on the CPU as the peer of `dense`: answers `load FILE` with ok and `run` with milliseconds.

usage: onnxruntime_dense.py --threads 2, then a request a line on standard input

Inputs are uniform random numbers of a fixed seed. Worker threads stop spinning when a run has ended, so that
they do not take time from the other side's run.
"""
import argparse
import sys
import time

import numpy as np
import onnxruntime as ort


def load(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    return session, {i.name: rng.random(i.shape, dtype=np.float32) for i in session.get_inputs()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, required=True)
    threads = parser.parse_args().threads
    print(f"onnxruntime {ort.__version__}", flush=True)
    session, inputs = None, {}
    for line in sys.stdin:
        request, _, path = line.strip().partition(" ")
        if request == "load":
            session, inputs = load(path, threads)
            print("ok", flush=True)
        else:
            start = time.perf_counter()
            session.run(None, inputs)
            print(1e3 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
