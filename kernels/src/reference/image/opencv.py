#!/usr/bin/env python3
"""Writes opencv.json: what OpenCV makes of small images, for the tests in opencv.rs.

usage: opencv.py   (with opencv-python-headless 4.10.0.84 and numpy)

Inputs are bytes of a generator that the tests have too; lists are outputs, row by row.
"""
import json
import pathlib

import cv2
import numpy as np

WIDTH, HEIGHT = 14, 10
LENS_SIZE = (24, 18)
CAMERA = np.array([[21.5, 0, 11.2], [0, 20.25, 8.6], [0, 0, 1]])
PROJECTION = np.array([[19.0, 0.125, 12.5], [0, 18.5, 9.25], [0, 0, 1]])
PLUMB_BOB = [-0.31, 0.12, 0.002, -0.003, -0.02]
RATIONAL = [0.4, -0.2, 0.001, 0.002, 0.05, 0.6, -0.1, 0.03]
RESIZED = [(7, 5), (9, 4), (23, 31), (14, 10), (1, 1), (5, 3)]
MOSAICS = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def random_bytes(count):
    """The upper bytes of a linear congruential generator."""
    state, values = 1, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    return np.array(values, np.uint8)


def formats():
    """Every conversion with arithmetic in it."""
    pairs = random_bytes(WIDTH * HEIGHT * 2).reshape(HEIGHT, WIDTH, 2)
    yield "uyvy", cv2.cvtColor(pairs, cv2.COLOR_YUV2RGB_UYVY)
    yield "yuy2", cv2.cvtColor(pairs, cv2.COLOR_YUV2RGB_YUY2)
    planes = random_bytes(WIDTH * HEIGHT * 3 // 2).reshape(HEIGHT * 3 // 2, WIDTH)
    yield "nv12", cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV12)
    for width in (WIDTH, 3, 2):
        mosaic = random_bytes(width * HEIGHT).reshape(HEIGHT, width)
        for name, code in MOSAICS.items():
            yield f"{name}_{width}", cv2.cvtColor(mosaic, getattr(cv2, f"COLOR_Bayer{code}2RGB"))


def lenses():
    """Maps in 1/32 px and undistorted images."""
    width, height = LENS_SIZE
    image = random_bytes(width * height * 3).reshape(height, width, 3)
    for name, distortion in (("plumb_bob", PLUMB_BOB), ("rational", RATIONAL)):
        maps = cv2.initUndistortRectifyMap(CAMERA, np.array(distortion), None, PROJECTION, LENS_SIZE, cv2.CV_32FC1)
        fixed = np.rint(np.stack(maps, -1) * np.float32(32)).astype(np.int64)
        # Positions that touch no pixel are all alike.
        yield f"map_{name}", np.clip(fixed, -64, [(width + 1) * 32, (height + 1) * 32])
        yield f"remap_{name}", cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def resizes():
    """Plain bilinear resizes."""
    image = random_bytes(WIDTH * HEIGHT * 3).reshape(HEIGHT, WIDTH, 3)
    for width, height in RESIZED:
        yield f"resize_{width}x{height}", cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def main():
    """Collects and writes."""
    found = {name: values.ravel().tolist() for part in (formats(), lenses(), resizes()) for name, values in part}
    lines = [f"{json.dumps(name)}:{json.dumps(values, separators=(',', ':'))}" for name, values in found.items()]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
