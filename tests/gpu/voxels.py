#!/usr/bin/env python3
"""Turns the voxel sets into the plain files that gpu-suite reads: voxels.py FROM TO

In: FROM/voxels_*.npz with `zyx` (n x 3), FROM/points_105k.npz with `xyz_2mm` (n x 3, steps of 2 mm), `intensity`
and `sweep` (steps of 0.05 s). Out, little-endian: TO/voxels_*.bin, int32 x, y, z; TO/points_105k.bin, float32
x, y, z (m), intensity, age (s).
"""
import pathlib
import sys

try:
    import numpy as np
except ImportError:
    sys.exit("error: python3 has no numpy: pip install numpy, or name another interpreter in PYTHON")


def voxels(path):
    return np.load(path)["zyx"][:, ::-1].astype("<i4")


def points(path):
    file = np.load(path)
    xyz = file["xyz_2mm"].astype(np.float32) * np.float32(0.002)
    age = file["sweep"].astype(np.float32) * np.float32(0.05)
    return np.column_stack([xyz, file["intensity"].astype(np.float32), age]).astype("<f4")


def main():
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    source, target = map(pathlib.Path, sys.argv[1:])
    found = sorted(source.glob("voxels_*.npz")) + sorted(source.glob("points_*.npz"))
    if not found:
        sys.exit(f"error: {source} has no voxels_*.npz: BEVFUSION_DATA_DIR names the folder above it")
    target.mkdir(parents=True, exist_ok=True)
    for path in found:
        rows = (voxels if path.name.startswith("voxels") else points)(path)
        np.ascontiguousarray(rows).tofile(target / f"{path.stem}.bin")
        print(f"{path.stem}: {len(rows)} rows")


if __name__ == "__main__":
    main()
