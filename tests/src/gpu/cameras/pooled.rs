//! What a camera that is not used leaves in the pooled map: nothing. The others' sums keep their bits.

use std::error::Error;

use bevfusion::camera::{ImageAug, ViewTransform};
use bevfusion::cuda::CudaPipeline;
use bevfusion::dataset::synthetic;
use bevfusion::exec::{BelowMinCameras, FrameOutcome};
use bevfusion::input::{Frame, RgbImage};

use super::rig::{Rig, late, no_image, policy};
use crate::report::Report;

/// Bits of the pooled map of the last frame, `[Z·C, X, Y]`.
pub(super) fn pooled(pipeline: &CudaPipeline) -> Result<Vec<u16>, Box<dyn Error>> {
    let camera = pipeline.detector().camera().ok_or("a model with cameras")?;
    let map = camera.pooled();
    let half = map.half().ok_or("a map of fp16")?;
    Ok(map.to_planar(&half.download()?))
}

/// The rig with images of the network's size, which nothing is done to: then the matrices of a camera are the
/// same before its first image.
fn with_network_images(rig: &Rig) -> Result<Rig, Box<dyn Error>> {
    let mut rig = rig.clone();
    let camera = rig.spec.camera.as_mut().ok_or("a model with cameras")?;
    (camera.resize, camera.bottom_crop) = (1.0, 0.0);
    let [height, width] = camera.image_size;
    for (index, source) in rig.frame.cameras.iter_mut().enumerate() {
        source.image = Some(synthetic::image([width, height], 30 + index as u64));
    }
    Ok(rig)
}

/// Another picture of the same size.
fn inverted(image: &RgbImage) -> RgbImage {
    RgbImage {
        pixels: image.pixels.iter().map(|level| !level).collect(),
        ..image.clone()
    }
}

fn map_of(pipeline: &mut CudaPipeline, frame: &Frame) -> Result<Vec<u16>, Box<dyn Error>> {
    match pipeline.run(frame).outcome {
        FrameOutcome::Dropped(fault) => Err(fault.into()),
        _ => pooled(pipeline),
    }
}

/// Compares the maps of frames in which one camera is not used.
pub(super) fn run(rig: &Rig, quick: bool, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rig = with_network_images(rig)?;
    let rules = policy(Some(1), BelowMinCameras::Drop);
    let mut pipeline = rig.pipeline(rules)?;
    let full = map_of(&mut pipeline, &rig.frame)?;
    let cameras = if quick { 1 } else { rig.cameras() };
    for camera in 0..cameras {
        let stage = |what: &str| rig.stage(&format!("pooled without camera {camera}: {what}"));
        // Late images are taken, turned into features and masked.
        let mut frame = rig.harmed(late, camera);
        let masked = map_of(&mut pipeline, &frame)?;
        let image = frame.cameras[camera].image.as_mut();
        let image = image.ok_or("a camera with an image")?;
        *image = inverted(image);
        let other = map_of(&mut pipeline, &frame)?;
        report.integers(stage("another image"), &[differing(&masked, &other)], &[0]);
        let gone = map_of(&mut pipeline, &rig.harmed(no_image, camera))?;
        report.integers(stage("no image"), &[differing(&masked, &gone)], &[0]);
        let outside = outside_of(&rig, camera, (&masked, &full))?;
        report.integers(stage("cells that it does not see"), &[outside], &[0]);
        let has_effect = i64::from(differing(&masked, &full) > 0);
        report.integers(stage("cells that it sees"), &[has_effect], &[1]);
        let again = map_of(&mut pipeline, &rig.frame)?;
        report.integers(
            stage("all cameras again"),
            &[differing(&full, &again)],
            &[0],
        );
        if camera == 0 {
            let mut fresh = rig.pipeline(rules)?;
            for (index, source) in rig.frame.cameras.iter().enumerate() {
                fresh.set_calibration(index, source.calibration)?;
            }
            let never = map_of(&mut fresh, &rig.harmed(no_image, camera))?;
            report.integers(stage("never an image"), &[differing(&masked, &never)], &[0]);
        }
    }
    Ok(())
}

fn differing(a: &[u16], b: &[u16]) -> i64 {
    let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
    (differing + a.len().abs_diff(b.len())) as i64
}

/// Values that differ in cells with no frustum point of the camera, in themselves or next to them: the device
/// may put points on a cell border into the neighbour.
fn outside_of(
    rig: &Rig,
    camera: usize,
    (masked, full): (&[u16], &[u16]),
) -> Result<i64, Box<dyn Error>> {
    let spec = rig.spec.camera.as_ref().ok_or("a model with cameras")?;
    let [height, width] = spec.image_size;
    let mut view = ViewTransform::new(spec);
    let sources = rig.frame.cameras.iter();
    let calibrations: Vec<_> = sources.map(|source| source.calibration).collect();
    let augmentations = vec![ImageAug::for_test(spec, width, height); calibrations.len()];
    view.set_calibration(&calibrations, &augmentations, None)?;
    let [rows, columns, _] = view.grid().count;
    let own = view.cells().len() / calibrations.len();
    let mut seen = vec![false; rows * columns];
    for cell in &view.cells()[camera * own..(camera + 1) * own] {
        let near = |at: i32| at.saturating_sub(1)..=at.saturating_add(1);
        for x in near(cell[0]) {
            for y in near(cell[1]) {
                let place = usize::try_from(x).ok().zip(usize::try_from(y).ok());
                if let Some((x, y)) = place.filter(|(x, y)| *x < rows && *y < columns) {
                    seen[x * columns + y] = true;
                }
            }
        }
    }
    let values = masked.iter().zip(full).enumerate();
    let outside = values.filter(|(at, (a, b))| a != b && !seen[at % seen.len()]);
    Ok(outside.count() as i64)
}
