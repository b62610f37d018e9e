#!/usr/bin/env python3
"""Work of the nuScenes sparse encoder on recorded voxel sets, and a straight line through measured times.

usage: encoder_work.py VOXELS RESULT_JSON      prints the table of benches/results/gpu/encoder-fit.md

VOXELS is a folder of voxels_*.npz (coordinates z, y, x or x, y, z under "coords"); RESULT_JSON a raw result of
benches/gpu.sh, whose times of the encoder and of the frame are fitted. Work is the sum of pairs x inputs x outputs over
all 21 convolutions, times two: useful operations, known on the device as soon as the rulebooks are there.
"""
import json
import pathlib
import re
import sys

import numpy as np

SHAPE = (1440, 1440, 41)
# Per stage: channels, submanifold convolutions, padding of the strided convolution behind it.
STAGES = [(16, 4, (1, 1, 1)), (32, 4, (1, 1, 1)), (64, 4, (1, 1, 0)), (128, 4, None)]
INPUTS = 5


def keys(sites, shape):
    return (sites[:, 0] * shape[1] + sites[:, 1]) * shape[2] + sites[:, 2]


def pairs(sites, shape):
    """Pairs of a 3x3x3 submanifold convolution."""
    present = np.sort(keys(sites, shape))
    count = 0
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dz in (-1, 0, 1):
                moved = sites + (dx, dy, dz)
                inside = ((moved >= 0) & (moved < shape)).all(1)
                wanted = keys(moved[inside], shape)
                at = np.minimum(np.searchsorted(present, wanted), len(present) - 1)
                count += int((present[at] == wanted).sum())
    return count


def strided(sites, shape, kernel, stride, padding):
    """Output sites, their extents and the pairs of a strided convolution."""
    out_shape = tuple((n + 2 * p - k) // s + 1 for n, p, k, s in zip(shape, padding, kernel, stride))
    found, count = [], 0
    for tap in np.ndindex(*kernel):
        place = sites + np.array(padding) - np.array(tap)
        whole = (place % stride == 0).all(1)
        place = place[whole] // stride
        inside = ((place >= 0) & (place < out_shape)).all(1)
        count += int(inside.sum())
        found.append(keys(place[inside], out_shape))
    unique = np.unique(np.concatenate(found))
    _, y, z = out_shape
    return np.stack([unique // (y * z), unique // z % y, unique % z], 1), out_shape, count


def work(sites):
    shape, total, inputs = SHAPE, 0, INPUTS
    for channels, convs, padding in STAGES:
        own = pairs(sites, shape)
        if inputs == INPUTS:
            total += own * INPUTS * channels
        total += convs * own * channels * channels
        inputs = channels
        if padding is not None:
            sites, shape, count = strided(sites, shape, (3, 3, 3), (2, 2, 2), padding)
            total += count * channels * 2 * channels
    _, _, count = strided(sites, shape, (1, 1, 3), (1, 1, 2), (0, 0, 0))
    return 2 * (total + count * 128 * 128)


def coordinates(path):
    arrays = np.load(path)
    coords = next(arrays[name] for name in arrays.files if arrays[name].ndim == 2)
    coords = coords[:, -3:].astype(np.int64)
    return coords if coords[:, 2].max() < SHAPE[2] else coords[:, ::-1]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    times = {}
    for entry in json.loads(pathlib.Path(sys.argv[2]).read_text(encoding="utf-8"))["times_us"]:
        found = re.match(r"(voxels_\w+) \((\d+) voxels\): (.*)", entry["name"])
        if found:
            times[found[1], found[3]] = entry["us"]
    rows = []
    for path in sorted(pathlib.Path(sys.argv[1]).glob("voxels_*.npz")):
        encoder = times.get((path.stem, "sparse encoder with rulebooks and dense map"))
        frame = times.get((path.stem, "frame"))
        if encoder is not None and frame is not None:
            sites = coordinates(path)
            rows.append((path.stem, len(sites), work(sites) / 1e9, encoder, frame))
    if len(rows) < 3:
        sys.exit("error: fewer than three voxel sets have times in the result")
    gflop = np.array([row[2] for row in rows])
    lines = [np.polyfit(gflop, np.array([row[at] for row in rows]), 1) for at in (3, 4)]
    print("| set | voxels | useful GFLOP | encoder (µs) | line (µs) | off by | frame (µs) | line (µs) | off by |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, voxels, work_done, *measured in rows:
        cells = []
        for time, line in zip(measured, lines):
            fitted = np.polyval(line, work_done)
            cells.append(f"{time:,.0f} | {fitted:,.0f} | {(time / fitted - 1) * 100:+.1f} %")
        print(f"| {name} | {voxels:,} | {work_done:.1f} | {' | '.join(cells)} |")
    for name, (slope, start) in zip(("encoder", "frame"), lines):
        print(f"\n{name}: {start:,.0f} µs + {slope:.2f} µs per GFLOP")


if __name__ == "__main__":
    main()
