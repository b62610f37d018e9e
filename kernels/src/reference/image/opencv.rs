//! Grey levels of OpenCV, as `opencv.py` wrote them into `opencv.json`, against this module's.

use super::{
    BayerPattern, Distortion, ImageView, Lens, LensMap, LinearResampler, PixelFormat, Plane,
    RawImage, Window, undistort,
};

const WIDTH: usize = 14;
const HEIGHT: usize = 10;
const LENS_SIZE: [usize; 2] = [24, 18];
const CAMERA: [[f64; 3]; 3] = [[21.5, 0.0, 11.2], [0.0, 20.25, 8.6], [0.0, 0.0, 1.0]];
const PROJECTION: [[f64; 3]; 3] = [[19.0, 0.125, 12.5], [0.0, 18.5, 9.25], [0.0, 0.0, 1.0]];

/// The list of this name.
fn expected(name: &str) -> Vec<i32> {
    let start = format!("\"{name}\":[");
    let lines = include_str!("opencv.json").lines();
    let mut found = lines.filter_map(|line| line.strip_prefix(start.as_str()));
    let list = found.next().expect("a list of this name");
    let list = list.trim_end_matches([',', ']']);
    list.split(',')
        .map(|n| n.parse().expect("a number"))
        .collect()
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn same(name: &str, got: &[u8]) {
    let got: Vec<i32> = got.iter().map(|v| i32::from(*v)).collect();
    assert_eq!(got, expected(name), "{name}");
}

fn decoded(format: PixelFormat, size: [usize; 2]) -> Vec<u8> {
    let stride = format.row_bytes(size[0]);
    let luma = stride * size[1];
    let bytes = random_bytes(luma * 3 / 2);
    let plane = |bytes| Plane { bytes, stride };
    let chroma = (format == PixelFormat::Nv12).then_some(plane(&bytes[luma..]));
    let image = RawImage::new(format, size, plane(&bytes[..luma]), chroma).expect("fits");
    let mut out = Vec::new();
    image.to_rgb(&mut out);
    out
}

#[test]
fn yuv_and_mosaics_have_the_same_colours() {
    same("uyvy", &decoded(PixelFormat::Uyvy, [WIDTH, HEIGHT]));
    same("yuy2", &decoded(PixelFormat::Yuy2, [WIDTH, HEIGHT]));
    same("nv12", &decoded(PixelFormat::Nv12, [WIDTH, HEIGHT]));
    let patterns = [
        ("rggb", BayerPattern::Rggb),
        ("bggr", BayerPattern::Bggr),
        ("gbrg", BayerPattern::Gbrg),
        ("grbg", BayerPattern::Grbg),
    ];
    for (name, pattern) in patterns {
        for width in [WIDTH, 3, 2] {
            let got = decoded(PixelFormat::Bayer(pattern), [width, HEIGHT]);
            same(&format!("{name}_{width}"), &got);
        }
    }
}

#[test]
fn lenses_have_the_same_maps_and_images() {
    let [width, height] = LENS_SIZE;
    let pixels = random_bytes(width * height * 3);
    let image = ImageView::new(width, height, &pixels).expect("fits");
    let plumb_bob = Distortion::PlumbBob([-0.31, 0.12, 0.002, -0.003, -0.02]);
    let rational = Distortion::Rational([0.4, -0.2, 0.001, 0.002, 0.05, 0.6, -0.1, 0.03]);
    for (name, distortion) in [("plumb_bob", plumb_bob), ("rational", rational)] {
        let lens = Lens {
            camera: CAMERA,
            distortion,
            projection: PROJECTION,
        };
        let map = LensMap::new(&lens, LENS_SIZE).expect("a lens");
        let positions = (0..height).flat_map(|y| (0..width).flat_map(move |x| map.at(x, y)));
        let positions: Vec<i32> = positions.collect();
        assert_eq!(positions, expected(&format!("map_{name}")), "map_{name}");
        let mut out = Vec::new();
        undistort(image, &map, &mut out);
        same(&format!("remap_{name}"), &out);
    }
}

#[test]
fn plain_resizes_have_the_same_levels() {
    let pixels = random_bytes(WIDTH * HEIGHT * 3);
    let image = ImageView::new(WIDTH, HEIGHT, &pixels).expect("fits");
    for [width, height] in [[7, 5], [9, 4], [23, 31], [14, 10], [1, 1], [5, 3]] {
        let mut out = Vec::new();
        LinearResampler::new([WIDTH, HEIGHT], [width, height]).run(
            image,
            Window::whole(width, height),
            &mut out,
        );
        same(&format!("resize_{width}x{height}"), &out);
    }
}
