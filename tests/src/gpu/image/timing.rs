//! Medians of six cameras, 1600×900 to 704×256 px as nuScenes has them.
//!
//! Images are those of the run before, so what fits the L2 cache is in it.

use std::sync::Arc;

use bevfusion_kernels::cuda::image::{ImageGeometry, ImagePreprocess, Resampling};
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};
use bevfusion_kernels::reference::image::{BayerPattern, Distortion, Lens, PixelFormat, Window};

use super::super::random::Random;
use super::super::timing::microseconds;
use super::cases::{Camera, Case};
use super::rig::{Pixels, changed, config};

const CAMERAS: usize = 6;
const RAW: [usize; 2] = [1600, 900];
const LENS: Lens = Lens {
    camera: [[1260.0, 0.0, 815.0], [0.0, 1260.0, 455.0], [0.0, 0.0, 1.0]],
    distortion: Distortion::PlumbBob([-0.31, 0.11, 0.001, -0.002, -0.01]),
    projection: [[1180.0, 0.0, 800.0], [0.0, 1180.0, 450.0], [0.0, 0.0, 1.0]],
};

/// What is measured besides the sizes.
struct Kind {
    name: &'static str,
    format: PixelFormat,
    resampling: Resampling,
    lens: Option<Lens>,
    in_host_memory: bool,
}

const fn kind(name: &'static str, format: PixelFormat) -> Kind {
    Kind {
        name,
        format,
        resampling: Resampling::Pillow,
        lens: None,
        in_host_memory: false,
    }
}

pub(super) fn times(context: &Arc<Context>) -> Result<Vec<(String, f64)>, DriverError> {
    let bent = |kind: Kind| Kind {
        lens: Some(LENS),
        ..kind
    };
    let kinds = [
        kind("RGB8", PixelFormat::Rgb8),
        kind("NV12", PixelFormat::Nv12),
        kind("UYVY", PixelFormat::Uyvy),
        kind("BGRA8", PixelFormat::Bgra8),
        kind("Bayer", PixelFormat::Bayer(BayerPattern::Rggb)),
        bent(kind("RGB8, lens", PixelFormat::Rgb8)),
        bent(kind("NV12, lens", PixelFormat::Nv12)),
        Kind {
            resampling: Resampling::OpenCv,
            ..kind("RGB8, plain bilinear", PixelFormat::Rgb8)
        },
        Kind {
            in_host_memory: true,
            ..kind("RGB8 in host memory", PixelFormat::Rgb8)
        },
    ];
    kinds.iter().map(|kind| measured(context, kind)).collect()
}

fn measured(context: &Arc<Context>, kind: &Kind) -> Result<(String, f64), DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let arena = DeviceArena::new(context);
    let case = case(kind);
    let mut images = ImagePreprocess::new(context, &arena, &config(&case))?;
    for (index, camera) in case.cameras.iter().enumerate() {
        changed(&mut images, &stream, index, &camera.geometry)?;
    }
    stream.synchronize()?;
    let pixels = Pixels::new(context, &arena, &case, kind.in_host_memory)?;
    let time = microseconds(&stream, || images.enqueue(&stream, &pixels.sources))?;
    Ok((format!("{CAMERAS} images {}", kind.name), time))
}

fn case(kind: &Kind) -> Case {
    let mut random = Random::new(1);
    let stride = kind.format.row_bytes(RAW[0]);
    let chroma = stride * RAW[1];
    let camera = |_| Camera {
        format: kind.format,
        geometry: ImageGeometry {
            raw: RAW,
            resized: [768, 432],
            crop: Window {
                left: 32,
                top: 176,
                width: 704,
                height: 256,
            },
            resampling: kind.resampling,
            lens: kind.lens,
        },
        stride,
        starts: [0, chroma],
        bytes: (0..chroma * 3 / 2).map(|_| random.bits() as u8).collect(),
    };
    Case {
        name: kind.name.to_owned(),
        image_size: [256, 704],
        far: false,
        cameras: (0..CAMERAS).map(camera).collect(),
    }
}
