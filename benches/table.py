#!/usr/bin/env python3
"""Writes the Markdown table of a folder of raw results (frames.json, dense.json) to standard output.

usage: table.py DIR > DIR/README.md
"""
import json
import math
import pathlib
import sys
import time

# In the order of a frame.
STAGES = (
    "sweeps voxelize sparse_encoder preprocess camera_backbone depth_net bev_pool bev_downsample bev_decoder head postprocess"
).split()


def quantile(samples, share):
    """The smallest sample that at least this share of all samples does not exceed."""
    return sorted(samples)[max(math.ceil(share * len(samples)), 1) - 1]


def milliseconds(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def head(*cells, texts=1):
    """The first columns are texts, the others numbers."""
    row(*cells)
    row(*["---"] * texts, *["---:"] * (len(cells) - texts))


def where(runs):
    first = runs[0]
    machine = first["machine"]
    loads = [r["machine"]["load_1min"] for r in runs]
    print(f"* processor: {machine['cpu']}, {machine['cores']} cores, {' '.join(machine['vector_extensions'])}, {machine['system']}")
    print(f"* threads: {first['threads']}")
    print(f"* commit: {' '.join(sorted({r['commit'] for r in runs}))}")
    print(f"* date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(machine['unix_time']))}")
    print(f"* load of the machine before the runs (1 minute mean): {', '.join(str(load) for load in loads)}")


def frames(runs):
    print("\n## Frames\n")
    print("Time of a whole frame, from points and decoded images in memory to boxes, CPU engine (rten as pinned in Cargo.lock, and the CPU twins).")
    print("Raw samples: [frames.json](frames.json).\n")
    head("model", "points", "images", "voxels", "best (ms)", "p50 (ms)", "p90 (ms)", "max (ms)", "peak resident memory (GiB)")
    for r in runs:
        times = [milliseconds(quantile(r["frame_ms"], share)) for share in (0.0, 0.5, 0.9, 1.0)]
        peak = r["peak_resident_bytes"]
        peak = f"{peak / 2**30:.2f}" if peak else "unavailable"
        row(r["model"], f"{r['key_points']:,}", r["images"], f"{r['counts']['voxels']:,}", *times, peak)
    print("\nStages, p50 / p90 (ms):\n")
    head("stage", *[r["model"] for r in runs])
    for stage in STAGES:
        found = [r["stages_ms"].get(stage) for r in runs]
        if any(found):
            row(stage, *[" / ".join(milliseconds(quantile(s, q)) for q in (0.5, 0.9)) if s else "" for s in found])
    print()
    for r in runs:
        print(f"{r['model']}: {r['frame']}, {r['warmup']} frames to warm up, {len(r['frame_ms'])} timed.  ")


def dense(runs):
    print("\n## Dense networks beside onnxruntime\n")
    print(f"The same ONNX file and the same {runs[0]['threads']} threads, one run each in turn, best of")
    print(f"{len(runs[0]['networks'][0]['engine_ms'])}; peer: {runs[0]['peer']}. A ratio above 1 means that we are slower.")
    print("Raw samples: [dense.json](dense.json).\n")
    head("model", "network", "GFLOP", "CPU engine (ms)", "onnxruntime (ms)", "ratio", texts=2)
    for r in runs:
        for n in r["networks"]:
            ours, theirs = min(n["engine_ms"]), min(n["peer_ms"])
            row(r["model"], n["name"], f"{n['gflop']:.1f}", milliseconds(ours), milliseconds(theirs), f"{ours / theirs:.2f}")
        ours, theirs = (sum(min(n[side]) for n in r["networks"]) for side in ("engine_ms", "peer_ms"))
        row(r["model"], "all", "", milliseconds(ours), milliseconds(theirs), f"{ours / theirs:.2f}")


def main():
    folder = pathlib.Path(sys.argv[1])
    frame_runs, dense_runs = (json.loads((folder / f"{name}.json").read_text()) for name in ("frames", "dense"))
    print("# Speed on a CPU\n\nWritten by `benches/table.py`; do not edit.\n")
    where(frame_runs + dense_runs)
    frames(frame_runs)
    dense(dense_runs)
    print("\n## How to repeat\n")
    print("`PYTHON=venv/bin/python benches/cpu.sh DATAROOT`; the folder is nuScenes with sample ca9a282c, without it the frame")
    print("is made up. Weights are values by formula (`formula-weights`): the dense networks and the sparse encoder do the same")
    print("operations whatever the values, only post-processing depends on them; trained weights were not timed. A load above the")
    print("number of threads means that other work ran at the same time, which makes times longer.")


if __name__ == "__main__":
    main()
