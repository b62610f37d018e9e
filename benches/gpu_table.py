#!/usr/bin/env python3
"""Writes the Markdown table of a folder of raw GPU results (one JSON per device) to standard output.

usage: gpu_table.py DIR > DIR/README.md
"""
import json
import pathlib
import re
import sys
import time

MAIN_SET = "points_105k"
FRAME = "frame"
ENCODER = "sparse encoder with rulebooks and dense map"
SECOND = "SECOND and SECONDFPN"
HEAD_MAPS = "dense part of the head"
HEAD = "head with proposals and query decoder"
VOXELS = "sweep and voxels"
# Calculated, not measured: for each layer the longer of its operations over 798 TFLOP/s and its bytes over 3.0 TB/s
# (both rates of an H100 SXM), every tensor read and written once. Encoders are those of recorded frames with about
# as many voxels and the same density of neighbours. Microseconds.
FLOOR_DEVICE = "H100 80GB HBM3"
FLOORS = {VOXELS: 3.0, SECOND: 158.0, HEAD: 69.0}
ENCODER_FLOORS = {
    "points_105k": 146.0,
    "voxels_real": 49.0,
    "voxels_080k": 87.0,
    "voxels_105k": 146.0,
    "voxels_135k": 187.0,
    "voxels_160k": 221.0,
}
ENCODER_KINDS = ("fp16_unsorted", "fp16_sorted")


def micro(value):
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def ratio(ours, other):
    return "" if ours is None or not other else f"{ours / other:.2f}"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def head(*cells, texts=1):
    """The first columns are texts, the others numbers."""
    row(*cells)
    row(*["---"] * texts, *["---:"] * (len(cells) - texts))


def stages_of(result):
    """{set: (voxels, {stage: µs})} and all other times in order; marks without a time are left out."""
    sets, others = {}, []
    for entry in result["times_us"]:
        found = re.fullmatch(r"(\S+) \((\d+) voxels\): (.+)", entry["name"])
        if found:
            name, voxels, stage = found.groups()
            sets.setdefault(name, (int(voxels), {}))[1][stage] = entry["us"]
        elif entry["us"] > 0:
            others.append((entry["name"], entry["us"]))
    return sets, others


def floor_of(result, name, stage):
    if FLOOR_DEVICE not in result["device"]:
        return None
    if stage == ENCODER:
        return ENCODER_FLOORS.get(name)
    if stage == FRAME:
        parts = [FLOORS[VOXELS], ENCODER_FLOORS.get(name), FLOORS[SECOND], FLOORS[HEAD]]
        return None if None in parts else sum(parts)
    return FLOORS.get(stage)


def dense_peer(result, stage):
    key = {SECOND: "second_fpn_us", HEAD_MAPS: "head_maps_us"}.get(stage)
    found = [result["peers"].get(name, {}).get(key) for name in ("dense", "dense_compiled")]
    return min((one for one in found if one), default=None)


def sparse_peer(result, name):
    """GPU time alone: the peer's wall time hangs on the host. The better of its row orders."""
    kinds = result["peers"].get("sparse", {}).get("sparse", {}).get(name.removeprefix("voxels_").removeprefix("points_"), {})
    found = [kinds.get(kind) for kind in ENCODER_KINDS]
    return min((1e3 * one["profile"]["busy"] for one in found if isinstance(one, dict)), default=None)


def peer_of(result, name, stage):
    return sparse_peer(result, name) if stage == ENCODER else dense_peer(result, stage)


def where(result):
    gpu, build = result["gpu"], result["build"]
    print(f"\n## {result['device']}\n")
    print(f"* driver: {gpu.get('driver_version', 'unknown')}; clocks (now / most): SM {gpu.get('clocks.sm', '?')} / {gpu.get('clocks.max.sm', '?')},")
    print(f"  memory {gpu.get('clocks.mem', '?')} / {gpu.get('clocks.max.mem', '?')}; power limit {gpu.get('power.limit', '?')}")
    print(f"* commit: {build['commit']}{' and local changes' if build['dirty'] else ''}, nvcc {build['nvcc']}")
    print(f"* date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(result['unix_time']))}")
    for name, peer in result["peers"].items():
        if "not_run" in peer:
            print(f"* peer {name}: {peer['not_run']}")
    dense = result["peers"].get("dense", {})
    if "torch" in dense:
        print(f"* PyTorch {dense['torch']}, cuDNN {dense.get('cudnn')}")
    print(f"* raw result: [{result['file']}]({result['file']})")
    if result["failed"]:
        failed = [case["case"] for case in result["cases"] if not case["passed"]]
        print(f"* failed in this run: {'; '.join(failed)}")


def frame(result, sets):
    if MAIN_SET not in sets:
        return
    voxels, stages = sets[MAIN_SET]
    print(f"\n### Stages of a LiDAR frame, {voxels:,} voxels\n")
    head("stage", "ours (µs)", "peer (µs)", "ours / peer", "floor (µs)", "ours / floor")
    for stage, ours in stages.items():
        peer, floor = peer_of(result, MAIN_SET, stage), floor_of(result, MAIN_SET, stage)
        row(stage, micro(ours), micro(peer), ratio(ours, peer), micro(floor), ratio(ours, floor))


def by_set(result, sets):
    print("\n### By voxel set\n")
    head("set", "voxels", VOXELS, "rulebooks", "encoder (µs)", "peer (µs)", "ours / peer", "floor (µs)", "ours / floor", "frame (µs)")
    for name, (voxels, stages) in sets.items():
        ours, peer, floor = stages.get(ENCODER), sparse_peer(result, name), floor_of(result, name, ENCODER)
        cells = (micro(ours), micro(peer), ratio(ours, peer), micro(floor), ratio(ours, floor), micro(stages.get(FRAME)))
        row(name, f"{voxels:,}", micro(stages.get(VOXELS)), micro(stages.get("rulebooks")), *cells)


def steady(result, others):
    found = [one for one in others if one[0].startswith(("submit ", "frame, wall "))]
    if not found:
        return
    print(f"\n### Frame after frame\n\nHost clock over {result['frames']:,} frames of the same cloud in device memory, one at a time (µs).\n")
    quantiles = list(dict.fromkeys(name.rsplit(" ", 1)[1] for name, _ in found))
    head("", *quantiles)
    for what, title in (("submit", "submitting"), ("frame, wall", "from submitting to boxes on the host")):
        times = dict(found)
        row(title, *[micro(times.get(f"{what} {quantile}")) for quantile in quantiles])


def layers(others):
    found = [one for one in others if one[0].startswith(("Gather ", "Auto "))]
    if not found:
        return
    print("\n### Convolutions\n\nGather: the kernels for any GPU. Auto: what the engine chooses on this one.\n")
    head("layer", "Gather (µs)", "Auto (µs)")
    table = {}
    for name, value in found:
        choice, layer = name.split(" ", 1)
        table.setdefault(re.sub(r" \d+ TFLOP/s$", "", layer), {})[choice] = value
    for layer, times in table.items():
        row(layer, micro(times.get("Gather")), micro(times.get("Auto")))


def explanation():
    print("""
## How to read and repeat it

Stages: each captured alone in a CUDA graph and replayed 20 times between two events, caches warm, median of 15 such
means. The parts of a frame overlap where they can, so the frame is not their sum; some lines are parts of others.

Peers: dense networks are PyTorch in fp16, channels last, batch norms folded, in a CUDA graph timed the same way, plain
or compiled, whichever is faster (`benches/peers/dense_peer.py`). The sparse encoder is spconv's in fp16, summed time of
its kernels and copies in a profiler, without host time, the better of two row orders. A ratio above 1 means that we are slower.

Floors are calculated for the H100 only: for each layer the longer of its operations over 798 TFLOP/s and its bytes over
3.0 TB/s, every tensor read and written once. That of a frame is the sum over its stages.

Weights are values by formula: convolutions do the same work whatever the values.

`tests/gpu/package.sh` where the toolkit is, `gpu.sh` of that folder on the GPU, then `benches/gpu_table.py benches/results/gpu`.""")


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    if not folder.is_dir():
        sys.exit(f"error: no folder {folder}")
    print("# Speed on a GPU\n\nWritten by `benches/gpu_table.py`; do not edit.")
    files = sorted(folder.glob("*.json"))
    if not files:
        print("\nNo result has been recorded yet.")
    for path in files:
        result = json.loads(path.read_text(encoding="utf-8")) | {"file": path.name}
        sets, others = stages_of(result)
        where(result)
        frame(result, sets)
        by_set(result, sets)
        steady(result, others)
        layers(others)
    explanation()


if __name__ == "__main__":
    main()
