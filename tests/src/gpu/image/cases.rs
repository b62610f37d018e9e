//! Shapes that are compared: down and up, far, tiny, hanging over, no multiple of anything.

use bevfusion_kernels::cuda::image::{ImageGeometry, Resampling};
use bevfusion_kernels::reference::image::{BayerPattern, Distortion, Lens, PixelFormat, Window};

use super::super::random::Random;

/// Every encoding.
pub(super) const FORMATS: [PixelFormat; 12] = [
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Rgba8,
    PixelFormat::Bgra8,
    PixelFormat::Mono8,
    PixelFormat::Uyvy,
    PixelFormat::Yuy2,
    PixelFormat::Nv12,
    PixelFormat::Bayer(BayerPattern::Rggb),
    PixelFormat::Bayer(BayerPattern::Bggr),
    PixelFormat::Bayer(BayerPattern::Gbrg),
    PixelFormat::Bayer(BayerPattern::Grbg),
];

/// An image and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Camera {
    pub(super) format: PixelFormat,
    pub(super) geometry: ImageGeometry,
    /// Bytes from row to row, of both planes.
    pub(super) stride: usize,
    /// First bytes of the planes in `bytes`.
    pub(super) starts: [usize; 2],
    pub(super) bytes: Vec<u8>,
}

/// Images of one launch.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// H, W.
    pub(super) image_size: [usize; 2],
    /// Whether all of them shrink beyond shared memory.
    pub(super) far: bool,
    pub(super) cameras: Vec<Camera>,
}

/// Sizes of a case: width, height.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    raw: [usize; 2],
    resized: [usize; 2],
    output: [usize; 2],
    corner: [isize; 2],
    far: bool,
}

const fn shape(
    name: &'static str,
    [raw, resized, output]: [[usize; 2]; 3],
    corner: [isize; 2],
) -> Shape {
    Shape {
        name,
        raw,
        resized,
        output,
        corner,
        far: false,
    }
}

/// Small ones first: that many are quick.
const QUICK: usize = 5;
const SHAPES: [Shape; 11] = [
    shape("up", [[38, 22], [85, 61], [70, 37]], [-5, 9]),
    shape("half", [[132, 90], [66, 45], [64, 44]], [1, 1]),
    shape("tiny", [[2, 2], [1, 1], [5, 3]], [0, 0]),
    shape("tiny up", [[2, 2], [33, 9], [33, 9]], [0, 0]),
    shape("outside", [[40, 30], [20, 15], [12, 9]], [-12, 3]),
    shape(
        "overhanging",
        [[400, 226], [192, 108], [203, 121]],
        [-7, -5],
    ),
    shape("squeezed", [[96, 500], [190, 41], [101, 33]], [60, 4]),
    shape("by 3", [[960, 540], [320, 180], [130, 100]], [99, 70]),
    shape("by 5", [[1280, 720], [256, 144], [96, 65]], [101, 77]),
    shape("nuScenes", [[1600, 900], [768, 432], [704, 256]], [32, 176]),
    Shape {
        name: "by 50",
        raw: [1000, 800],
        resized: [20, 16],
        output: [22, 13],
        corner: [-1, 2],
        far: true,
    },
];

/// Everything, or what is quick.
pub(super) fn all(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let count = if quick { QUICK } else { SHAPES.len() };
    for (seed, shape) in SHAPES.iter().take(count).enumerate() {
        for resampling in [Resampling::Pillow, Resampling::OpenCv] {
            // Two pixels a direction always fit.
            if shape.far && resampling == Resampling::OpenCv {
                continue;
            }
            for lens in [false, true] {
                cases.push(case(shape, resampling, lens, seed as u64));
            }
        }
    }
    if !quick {
        cases.push(displaced());
    }
    cases.push(mixed(Resampling::Pillow, true));
    cases.push(mixed(Resampling::OpenCv, false));
    cases
}

/// Cameras of unlike sizes in one launch.
pub(super) fn mixed(resampling: Resampling, lens: bool) -> Case {
    let mut random = Random::new(99);
    let raw = [[64, 48], [98, 62], [30, 78], [2, 2], [200, 100]];
    let cameras = raw.iter().zip(FORMATS.iter().skip(3));
    let cameras = cameras.map(|(raw, format)| {
        let shape = shape("", [*raw, [90, 40], [50, 42]], [11, -3]);
        camera(&shape, *format, (resampling, lens), &mut random)
    });
    Case {
        name: format!("mixed sizes {}", mode(resampling, lens)),
        image_size: [42, 50],
        far: false,
        cameras: cameras.collect(),
    }
}

fn case(shape: &Shape, resampling: Resampling, lens: bool, seed: u64) -> Case {
    let mut random = Random::new(seed);
    let formats = FORMATS.iter();
    let cameras = formats.map(|format| camera(shape, *format, (resampling, lens), &mut random));
    Case {
        name: format!("{} {}", shape.name, mode(resampling, lens)),
        image_size: [shape.output[1], shape.output[0]],
        far: shape.far,
        cameras: cameras.collect(),
    }
}

/// A projection that moves pixels by more than 16 bits hold.
fn displaced() -> Case {
    let shape = shape("", [[2600, 32], [2600, 32], [64, 32]], [2500, 0]);
    let mut case = case(&shape, Resampling::Pillow, true, 7);
    for camera in &mut case.cameras {
        if let Some(lens) = &mut camera.geometry.lens {
            lens.projection[0][2] += 2450.0;
        }
    }
    case.name = "displaced by a lens".to_owned();
    case
}

fn mode(resampling: Resampling, lens: bool) -> String {
    let bent = if lens { ", lens" } else { "" };
    format!("{resampling:?}{bent}")
}

fn camera(
    shape: &Shape,
    format: PixelFormat,
    (resampling, lens): (Resampling, bool),
    random: &mut Random,
) -> Camera {
    let single = format.granularity() == [1, 1] && shape.raw == [2, 2];
    let raw = if single { [1, 1] } else { shape.raw };
    let stride = format.row_bytes(raw[0]) + [0, 1, 2, 3, 13, 16][random.below(6)];
    let lead = random.below(17);
    let chroma = lead + stride * raw[1] + random.below(3);
    let rows = if format == PixelFormat::Nv12 {
        raw[1] / 2
    } else {
        0
    };
    Camera {
        format,
        geometry: ImageGeometry {
            raw,
            resized: shape.resized,
            crop: Window {
                left: shape.corner[0],
                top: shape.corner[1],
                width: shape.output[0],
                height: shape.output[1],
            },
            resampling,
            lens: lens.then(|| bent(raw, random)),
        },
        stride,
        starts: [lead, chroma],
        bytes: levels(chroma + stride * rows, random),
    }
}

/// Noise with black and white runs in it, so that filters overshoot.
fn levels(count: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        let value = random.bits();
        match value % 4 {
            0 => bytes.extend([if value & 16 == 0 { 0 } else { 255 }; 24]),
            _ => bytes.extend(value.to_le_bytes()),
        }
    }
    bytes.truncate(count);
    bytes
}

fn bent([width, height]: [usize; 2], random: &mut Random) -> Lens {
    let (width, height) = (width as f64, height as f64);
    let focal = 0.8 * width.max(height);
    let zoom = [0.4, 0.9, 1.2][random.below(3)];
    let distortion = if random.below(2) == 0 {
        Distortion::PlumbBob([-0.31, 0.11, 0.001, -0.002, -0.01])
    } else {
        Distortion::Rational([0.4, -0.2, 0.001, 0.002, 0.05, 0.6, -0.1, 0.03])
    };
    Lens {
        camera: [
            [focal, 0.0, width / 2.0 + 0.3],
            [0.0, 1.01 * focal, height / 2.0 - 0.2],
            [0.0, 0.0, 1.0],
        ],
        distortion,
        projection: [
            [focal * zoom, 0.1, width / 2.0],
            [0.0, focal * zoom, height / 2.0],
            [0.0, 0.0, 1.0],
        ],
    }
}
