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
CAMERA_MODEL = "nuscenes_CL"
FUSER_AND_SECOND = "ConvFuser, SECOND and SECONDFPN"
FUSER_LAYER = "Auto dense 1 x 180x180 352->256 k3"
IMAGES = "6 images RGB8"
# Stages of the camera-LiDAR model: title, our entries, the peer's keys, floor. An entry is a stage of the model, a
# time of the suite, or (A, B) for A less B. Where the peer does not do the same work, it has no keys.
CAMERA_STAGES = [
    ("image preprocessing", [IMAGES], ["preprocess_us"], 7.0),
    ("Swin-T", ["Swin"], ["swin_us"], 589.0),
    ("depth images", ["frame settings and empty depth images", "depth images"], ["depth_images_us"], 2.0),
    (
        "LSSFPN, depth network and softmax",
        ["LSSFPN", ("depth images and their first layers", "depth images"), "depth network and softmax"],
        ["lssfpn_us", "depth_net_us"],
        39.0 + 62.0,
    ),
    ("BEV pooling", ["BEV pooling"], ["bev_pool_us"], 12.0),
    ("BEV down-sampling and ConvFuser", ["BEV down-sampling", FUSER_LAYER], ["downsample_us", "fuser_us"], 28.0 + 63.0),
    ("SECOND and SECONDFPN", [(FUSER_AND_SECOND, FUSER_LAYER)], ["second_fpn_us"], FLOORS[SECOND]),
    ("dense part of the head", [HEAD_MAPS], ["head_maps_us"], None),
    ("head with proposals and query decoder", [HEAD], [], FLOORS[HEAD]),
    ("frame", [FRAME], [], None),
]
ENCODER_KINDS = ("fp16_unsorted", "fp16_sorted")
# Times of frame after frame: model, what, quantile. Older results are of the LiDAR model and do not name it.
STEADY = r"(?:(\S+): )?(submit|frame, wall) (p[\d.]+|max)"


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
    return best_of_peers(result, [key] if key else [])


def best_of_peers(result, keys):
    """The sum of the keys' times, each of the faster of the plain and the compiled run."""
    def best(key):
        found = [result["peers"].get(name, {}).get(key) for name in ("dense", "dense_compiled")]
        return min((one for one in found if one), default=None)
    times = [best(key) for key in keys]
    return sum(times) if times and None not in times else None


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
    for name, why in dense.get("failed", {}).items():
        print(f"* peer stage {name} did not run: {why}")
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
    found = {}
    for name, time in others:
        match = re.fullmatch(STEADY, name)
        if match:
            model, what, quantile = match.groups()
            found.setdefault((model or "nuscenes_L", what), {})[quantile] = time
    if not found:
        return
    print(f"\n### Frame after frame\n\nHost clock over {result['frames']:,} frames of the same cloud, and images, in device memory, one at a time (µs).\n")
    quantiles = list(dict.fromkeys(quantile for times in found.values() for quantile in times))
    head("model", "", *quantiles, texts=2)
    titles = {"submit": "submitting", "frame, wall": "from submitting to boxes on the host"}
    for (model, what), times in found.items():
        row(model, titles[what], *[micro(times.get(quantile)) for quantile in quantiles])


def memory(result):
    """Models with the bytes of their purposes; these entries have no time."""
    found = {}
    for entry in result["times_us"]:
        match = re.fullmatch(r"(\S+): memory (.+), (\d+) bytes", entry["name"])
        if match:
            model, purpose, size = match.groups()
            found.setdefault(model, []).append((purpose, int(size)))
    if not found:
        return
    print("\n### Device memory\n\nThe largest purposes; taken while the pipeline is built, nothing later.\n")
    head("model", "purpose", "MiB", texts=2)
    for model, purposes in found.items():
        for purpose, size in purposes:
            row(model, purpose, f"{size / 2**20:.1f}")


def camera_frame(result, sets, others):
    """The camera-LiDAR model beside peers, and when its stages ran."""
    prefix = f"{CAMERA_MODEL}: "
    times = dict(others)
    stages = {name.removeprefix(prefix): time for name, time in others if name.startswith(prefix)}
    if FRAME not in stages:
        return
    layer = next((time for name, time in others if name.startswith(FUSER_LAYER + " ")), None)

    def ours(entry):
        if isinstance(entry, tuple):
            pair = [ours(one) for one in entry]
            return None if None in pair else pair[0] - pair[1]
        return layer if entry == FUSER_LAYER else stages.get(entry, times.get(entry))

    voxels = sets[MAIN_SET][0] if MAIN_SET in sets else None
    print("\n### Stages of a camera-LiDAR frame" + (f", {voxels:,} voxels, six images\n" if voxels else "\n"))
    head("stage", "ours (µs)", "peer (µs)", "ours / peer", "floor (µs)", "ours / floor")
    for title, entries, keys, floor in CAMERA_STAGES:
        parts = [ours(entry) for entry in entries]
        time = None if None in parts else sum(parts)
        peer = best_of_peers(result, keys)
        if title == "frame":
            # Without the image preprocessing, which comes before the frame.
            floor = sum(one[3] or 0 for one in CAMERA_STAGES[1:-1]) + FLOORS[VOXELS] + ENCODER_FLOORS[MAIN_SET]
        floor = floor if FLOOR_DEVICE in result["device"] else None
        row(title, micro(time), micro(peer), ratio(time, peer), micro(floor), ratio(time, floor))
    overlap(result, times)


def overlap(result, times):
    """Beginnings and ends of the stages in a frame, by beginning."""
    begins, ends = (
        {name.removeprefix(f"{CAMERA_MODEL} {what} "): time for name, time in times.items() if name.startswith(f"{CAMERA_MODEL} {what} ")}
        for what in ("begins", "ends")
    )
    if not ends:
        return
    print("\n### When its stages run\n\nµs after the beginning of the frame; the LiDAR branch beside the cameras.\n")
    if result.get("picture"):
        print(f"![Stages of one frame on two lanes]({result['picture']})\n")
    head("stage", "begin", "end")
    for stage in sorted(ends, key=lambda one: (begins.get(one, 0.0), ends[one])):
        # stages_of leaves times of 0 out.
        row(stage, micro(begins.get(stage, 0.0)), micro(ends[stage]))


def kernels(others):
    """All that no other table has."""
    taken = re.compile(rf"{STEADY}|(Gather|Auto) .*|{CAMERA_MODEL}(:| begins| ends) .*")
    found = [one for one in others if not taken.fullmatch(one[0])]
    if not found:
        return
    print("\n### Kernels alone\n")
    head("kernel", "µs")
    for name, time in found:
        row(name, micro(time))


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
or compiled, whichever is faster (`benches/peers/dense_peer.py`; camera stages plain only). Its Swin-T uses PyTorch's fused attention,
its pooling adds lifted features with `index_add`, its depth images are a scatter. Where a row names several parts, both columns are
sums. SECOND of the camera-LiDAR model is the fused network less the fuser's layer, timed alone. The sparse encoder is spconv's in fp16, summed time of
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
        picture = path.with_name(f"{path.stem}-timeline.svg")
        if picture.exists():
            result["picture"] = picture.name
        sets, others = stages_of(result)
        where(result)
        frame(result, sets)
        by_set(result, sets)
        camera_frame(result, sets, others)
        steady(result, others)
        memory(result)
        layers(others)
        kernels(others)
    explanation()


if __name__ == "__main__":
    main()
