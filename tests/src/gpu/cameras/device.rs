//! Images that are pushed apart from the clouds: frozen cameras, wrong indices, broken images.

use std::error::Error;

use bevfusion::cuda::{CudaOptions, CudaPipeline, DeviceImage, ImageRefusal};
use bevfusion::exec::{BelowMinCameras, CameraState};
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice};
use bevfusion_kernels::reference::image::{PixelFormat, Plane, RawImage};

use super::rig::{CLOUD_NS, MS, Rig, all_but, fate, numbers, policy};
use crate::gpu::steady::DevicePoints;
use crate::report::Report;

/// A pipeline with the cloud and the images of the rig in device memory.
struct Bench<'a> {
    rig: &'a Rig,
    pipeline: CudaPipeline,
    points: DevicePoints,
    images: Vec<DeviceImage>,
    _held: Vec<DeviceSlice<u8>>,
}

impl<'a> Bench<'a> {
    fn new(rig: &'a Rig) -> Result<Self, Box<dyn Error>> {
        let pipeline = rig.pipeline(policy(Some(1), BelowMinCameras::Drop))?;
        let points = DevicePoints::new(&pipeline, &rig.frame.points.values)?;
        let arena = DeviceArena::new(pipeline.context());
        let (mut images, mut held) = (Vec::new(), Vec::new());
        for source in &rig.frame.cameras {
            let image = source.image.as_ref().ok_or("a camera with an image")?;
            let pixels = arena.take_with("raw image", &image.pixels)?;
            images.push(DeviceImage {
                camera: images.len(),
                stamp_ns: 0,
                format: PixelFormat::Rgb8,
                size: [image.width, image.height],
                address: pixels.address(),
                stride: 3 * image.width,
                chroma_address: 0,
                chroma_stride: 0,
            });
            held.push(pixels);
        }
        Ok(Self {
            rig,
            pipeline,
            points,
            images,
            _held: held,
        })
    }

    /// All images, taken at that time.
    fn push(&mut self, stamp_ns: i64) -> Result<(), ImageRefusal> {
        let images = self.images.iter().enumerate();
        for (camera, image) in images {
            let mut taken = self.pipeline.push_device_images(&[DeviceImage {
                camera,
                stamp_ns,
                ..*image
            }]);
            while matches!(taken, Err(ImageRefusal::Busy { .. })) {
                taken = self.pipeline.push_device_images(&[DeviceImage {
                    camera,
                    stamp_ns,
                    ..*image
                }]);
            }
            taken?;
        }
        Ok(())
    }

    /// Runs a cloud of that time: states and outcome.
    fn frame(&mut self, stamp_ns: i64) -> (Vec<i64>, [i64; 4]) {
        let result = *self.pipeline.run_device(&[self.points.cloud()], stamp_ns);
        (numbers(result.cameras.as_slice()), fate(&result))
    }

    /// A frame after which camera 0 must be in that state and the others fresh.
    fn expect(&mut self, what: &str, state: CameraState, report: &mut Report) {
        let (states, fate) = self.frame(CLOUD_NS);
        let want = all_but(self.rig.cameras(), 0, state);
        let stage = |of: &str| self.rig.stage(&format!("pushed images, {what}: {of}"));
        report.integers(stage("states"), &states, &want);
        let unused = i64::from(state != CameraState::Fresh);
        report.integers(stage("outcome"), &fate, &[0, 0, unused, 0]);
    }
}

/// Pushes good and bad images.
pub(super) fn run(rig: &Rig, _quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new(rig)?;
    bench.push(CLOUD_NS)?;
    let (states, _) = bench.frame(CLOUD_NS);
    let want = numbers(&vec![CameraState::Uncalibrated; rig.cameras()]);
    report.integers(rig.stage("pushed images, no calibration"), &states, &want);
    for (camera, source) in rig.frame.cameras.iter().enumerate() {
        bench.pipeline.set_calibration(camera, source.calibration)?;
    }
    bench.expect("calibrated", CameraState::Fresh, report);
    frozen(&mut bench, report)?;
    indices(&mut bench, report);
    broken(&mut bench, report)?;
    other_lengths(&mut bench, report)
}

/// Camera 0 sends the same image for ever; the others go on.
fn frozen(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let cameras = bench.rig.cameras();
    for (at_ms, state) in [
        (0, CameraState::Fresh),
        (100, CameraState::Fresh),
        (120, CameraState::Fresh),
        (121, CameraState::Stale),
        (5_000, CameraState::Stale),
    ] {
        let now = CLOUD_NS + at_ms * MS;
        bench.push(now)?;
        let first = bench.images[0];
        bench.pipeline.push_device_images(&[DeviceImage {
            camera: 0,
            stamp_ns: CLOUD_NS,
            ..first
        }])?;
        let (states, _) = bench.frame(now);
        let stage = format!("pushed images, frozen for {at_ms} ms");
        let want = all_but(cameras, 0, state);
        report.integers(bench.rig.stage(&stage), &states, &want);
    }
    bench.push(CLOUD_NS)?;
    let first = bench.images[0];
    let future = CLOUD_NS + 121 * MS;
    bench.pipeline.push_device_images(&[DeviceImage {
        camera: 0,
        stamp_ns: future,
        ..first
    }])?;
    bench.expect("from the future", CameraState::Stale, report);
    bench.pipeline.forget_images(0);
    bench.expect("forgotten", CameraState::Missing, report);
    bench.push(CLOUD_NS)?;
    bench.expect("back", CameraState::Fresh, report);
    Ok(())
}

/// A camera that the model does not have is refused and changes nothing.
fn indices(bench: &mut Bench<'_>, report: &mut Report) {
    let cameras = bench.rig.cameras();
    let image = bench.images[0];
    let calibration = bench.rig.frame.cameras[0].calibration;
    for camera in [cameras, usize::MAX] {
        let refusals = [
            bench.pipeline.push_device_images(&[DeviceImage {
                camera,
                stamp_ns: CLOUD_NS,
                ..image
            }]),
            bench.pipeline.set_calibration(camera, calibration),
        ];
        let named = ImageRefusal::Camera { camera, cameras };
        let refused = refusals.map(|outcome| i64::from(outcome == Err(named.clone())));
        let stage = bench.rig.stage(&format!("pushed images, camera {camera}"));
        report.integers(stage, &refused, &[1, 1]);
        bench.pipeline.forget_images(camera);
    }
    bench.expect("after wrong indices", CameraState::Fresh, report);
}

/// Images that are not taken: the camera is rejected until the next good one.
fn broken(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let good = bench.images[0];
    let [width, height] = good.size;
    let images = [
        (
            "no rows",
            DeviceImage {
                size: [width, 0],
                ..good
            },
        ),
        (
            "no columns",
            DeviceImage {
                size: [0, height],
                ..good
            },
        ),
        (
            "overlapping rows",
            DeviceImage {
                stride: 3 * width - 1,
                ..good
            },
        ),
        ("no address", DeviceImage { address: 0, ..good }),
        (
            "NV12 without chroma",
            DeviceImage {
                format: PixelFormat::Nv12,
                ..good
            },
        ),
    ];
    for (name, image) in images {
        let pushed = bench.pipeline.push_device_images(&[DeviceImage {
            camera: 0,
            stamp_ns: CLOUD_NS,
            ..image
        }]);
        let refused = i64::from(matches!(pushed, Err(ImageRefusal::Image { camera: 0, .. })));
        let stage = bench.rig.stage(&format!("pushed images, {name}: refused"));
        report.integers(stage, &[refused], &[1]);
        bench.expect(name, CameraState::Rejected, report);
        bench.pipeline.push_device_images(&[DeviceImage {
            camera: 0,
            stamp_ns: CLOUD_NS,
            ..good
        }])?;
        bench.expect("good again", CameraState::Fresh, report);
    }
    Ok(())
}

/// More bytes than there is room for, and a byte too few for the size.
fn other_lengths(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let [width, height] = CudaOptions::default().images.raw;
    let bytes = vec![7; 3 * width * (height + 2)];
    let plane = |bytes| Plane {
        bytes,
        stride: 3 * width,
    };
    let size = [width, height + 2];
    let image = RawImage::new(PixelFormat::Rgb8, size, plane(&bytes), None)?;
    let pushed = bench.pipeline.push_image(0, &image, CLOUD_NS);
    let refused = i64::from(matches!(pushed, Err(ImageRefusal::Image { camera: 0, .. })));
    let stage = bench.rig.stage("pushed images, beyond the room: refused");
    report.integers(stage, &[refused], &[1]);
    bench.expect("beyond the room", CameraState::Rejected, report);
    let short = RawImage::new(PixelFormat::Rgb8, size, plane(&bytes[1..]), None);
    let stage = bench
        .rig
        .stage("pushed images, a buffer that is a byte short is no image");
    report.integers(stage, &[i64::from(short.is_err())], &[1]);
    Ok(())
}
