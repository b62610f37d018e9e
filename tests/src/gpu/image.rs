//! Camera images on the device against the CPU twins, bit for bit: every encoding in one launch, odd
//! strides and addresses, both resizes, with and without a lens, from device and from host memory.

mod cases;
mod rig;
mod timing;
mod twin;

use std::error::Error;
use std::sync::Arc;

use bevfusion_kernels::cuda::image::{ImagePreprocess, ImageSource, PATCH_PITCH, Resampling};
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};
use bevfusion_kernels::reference::image::{PATCH_VALUES, PixelFormat};

use self::cases::Case;
use self::rig::{Pixels, changed, config, integers};
use crate::report::Report;

/// Compares everything; `quick` for checkers that slow the device down.
pub fn run(context: &Arc<Context>, quick: bool, report: &mut Report) {
    for case in cases::all(quick) {
        if let Err(error) = compared(context, &case, report) {
            report.failure(format!("image {}", case.name), error.to_string());
        }
    }
    if let Err(error) = geometry_changes(context, report) {
        report.failure("image geometry", error.to_string());
    }
    if let Err(error) = refusals(context, report) {
        report.failure("image refusals", error.to_string());
    }
}

/// Medians (µs) of six cameras of nuScenes' size.
///
/// # Errors
/// When the driver refuses.
pub fn times(context: &Arc<Context>) -> Result<Vec<(String, f64)>, DriverError> {
    timing::times(context)
}

/// All cameras of a case in one launch, from device and from host memory, twice each.
fn compared(
    context: &Arc<Context>,
    case: &Case,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let stream = Stream::new(context, Priority::High)?;
    let arena = DeviceArena::new(context);
    let mut images = ImagePreprocess::new(context, &arena, &config(case))?;
    for (index, camera) in case.cameras.iter().enumerate() {
        changed(&mut images, &stream, index, &camera.geometry)?;
    }
    let want = integers(&expected(case)?);
    for (place, in_host_memory) in [("device", false), ("host", true)] {
        let pixels = Pixels::new(context, &arena, case, in_host_memory)?;
        for again in ["", ", again"] {
            images.output().fill_bytes(&stream, 0x77)?;
            images.enqueue(&stream, &pixels.sources)?;
            stream.synchronize()?;
            let got = integers(&patches(&images)?);
            let name = format!("image {}, {place} memory{again}", case.name);
            report.integers(name, &got, &want);
        }
    }
    if case.far {
        let far = (0..case.cameras.len()).all(|camera| images.is_far(camera) == Some(true));
        let name = format!("image {}, slower kernel", case.name);
        report.integers(name, &[i64::from(far)], &[1]);
    }
    Ok(())
}

fn expected(case: &Case) -> Result<Vec<u16>, Box<dyn Error>> {
    let mut want = Vec::new();
    for camera in &case.cameras {
        want.extend(twin::patches(camera, &config(case))?);
    }
    Ok(want)
}

/// A geometry holds from its place in the stream on, and only for its camera.
fn geometry_changes(context: &Arc<Context>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let stream = Stream::new(context, Priority::High)?;
    let arena = DeviceArena::new(context);
    let case = cases::mixed(Resampling::Pillow, true);
    let mut images = ImagePreprocess::new(context, &arena, &config(&case))?;
    let pixels = Pixels::new(context, &arena, &case, false)?;
    for (index, camera) in case.cameras.iter().enumerate() {
        changed(&mut images, &stream, index, &camera.geometry)?;
    }
    images.enqueue(&stream, &pixels.sources)?;
    let mut other = case.clone();
    for round in 0..3 {
        let camera = &mut other.cameras[round];
        camera.geometry.resized[0] += 7;
        camera.geometry.crop.left += 2;
        camera.geometry.lens = None;
        // Without waiting for the launch before.
        changed(&mut images, &stream, round, &camera.geometry)?;
        images.enqueue(&stream, &pixels.sources[round..=round])?;
    }
    stream.synchronize()?;
    let want = integers(&expected(&other)?);
    let got = integers(&patches(&images)?);
    report.integers("image geometry changes", &got, &want);
    Ok(())
}

/// What was written: patches without what lies between them.
fn patches(images: &ImagePreprocess) -> Result<Vec<u16>, DriverError> {
    let all = images.output().download()?;
    let rows = all.chunks_exact(PATCH_PITCH);
    Ok(rows.flat_map(|row| row[..PATCH_VALUES].to_vec()).collect())
}

/// What cannot be is refused before anything is launched.
fn refusals(context: &Arc<Context>, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let stream = Stream::new(context, Priority::High)?;
    let arena = DeviceArena::new(context);
    let case = cases::mixed(Resampling::OpenCv, false);
    let mut images = ImagePreprocess::new(context, &arena, &config(&case))?;
    let pixels = Pixels::new(context, &arena, &case, false)?;
    let first = pixels.sources[0];
    let mut refused = vec![images.enqueue(&stream, &[first]).is_err()];
    changed(&mut images, &stream, 0, &case.cameras[0].geometry)?;
    // While it is on its way, the next one is not looked at.
    stream.synchronize()?;
    let wrong = [
        ImageSource {
            camera: 99,
            ..first
        },
        ImageSource { stride: 1, ..first },
        ImageSource {
            address: 0,
            ..first
        },
        ImageSource {
            format: PixelFormat::Nv12,
            chroma_address: 0,
            ..first
        },
    ];
    refused.extend(wrong.map(|source| images.enqueue(&stream, &[source]).is_err()));
    refused.push(images.enqueue(&stream, &[first, first]).is_err());
    let mut geometry = case.cameras[0].geometry;
    geometry.raw[0] = 9000;
    refused.push(images.set_geometry(&stream, 0, &geometry).is_err());
    geometry = case.cameras[0].geometry;
    geometry.crop.width += 1;
    refused.push(images.set_geometry(&stream, 0, &geometry).is_err());
    refused.push(images.enqueue(&stream, &[first]).is_ok());
    refused.push(images.enqueue(&stream, &[]).is_ok());
    stream.synchronize()?;
    let got: Vec<i64> = refused.into_iter().map(i64::from).collect();
    report.integers("image refusals", &got, &vec![1; got.len()]);
    Ok(())
}
