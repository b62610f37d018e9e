#!/usr/bin/env python3
"""Puts one raw result of benches/gpu.sh together: gpu_result.py BUILD_JSON WORK OUTPUT

In WORK: ours.json and timeline.svg of gpu-suite, gpu.json of report.py, and NAME.json or NAME.why of each peer.
OUTPUT is a file, or a folder, where the file is named after the device; the picture goes beside it.
"""
import json
import pathlib
import re
import shutil
import sys
import time


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def peer_of(work, name):
    if (work / f"{name}.json").exists():
        return read(work / f"{name}.json")
    why = work / f"{name}.why"
    return {"not_run": why.read_text(encoding="utf-8").strip() if why.exists() else "not asked for"}


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    build, work, output = map(pathlib.Path, sys.argv[1:])
    ours = read(work / "ours.json")
    result = {
        "device": ours["device"],
        "gpu": read(work / "gpu.json"),
        "unix_time": int(time.time()),
        "build": read(build),
        "frames": ours["frames"],
        "failed": ours["failed"],
        "cases": ours["cases"],
        "times_us": ours["times_us"],
        "peers": {name: peer_of(work, name) for name in ("dense", "dense_compiled", "sparse")},
    }
    if output.suffix != ".json":
        output = output / (re.sub(r"[^a-z0-9]+", "-", ours["device"].lower()).strip("-") + ".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"result: {output}")
    if (work / "timeline.svg").exists():
        picture = output.with_name(f"{output.stem}-timeline.svg")
        shutil.copyfile(work / "timeline.svg", picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    main()
