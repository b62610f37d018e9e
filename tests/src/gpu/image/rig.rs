//! Images where the device reads them, and what tests ask of the launcher.

use std::sync::Arc;

use bevfusion_kernels::cuda::image::{
    GeometryChange, ImageConfig, ImageGeometry, ImagePreprocess, ImageSource,
};
use bevfusion_kernels::driver::{
    Context, DeviceArena, DeviceSlice, DriverError, PinnedSlice, Stream,
};

use super::cases::{Camera, Case};

/// Mean and standard deviation of ImageNet (R, G, B).
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const STD: [f32; 3] = [58.395, 57.12, 57.375];

/// The bytes of all cameras of a case.
#[derive(Debug)]
pub(super) struct Pixels {
    pub(super) sources: Vec<ImageSource>,
    _device: Vec<DeviceSlice<u8>>,
    _host: Vec<PinnedSlice<u8>>,
}

impl Pixels {
    pub(super) fn new(
        context: &Arc<Context>,
        arena: &DeviceArena,
        case: &Case,
        in_host_memory: bool,
    ) -> Result<Self, DriverError> {
        let (mut sources, mut device, mut host) = (Vec::new(), Vec::new(), Vec::new());
        for (index, camera) in case.cameras.iter().enumerate() {
            let address = if in_host_memory {
                let mut bytes = PinnedSlice::new(context, padded(&camera.bytes).len())?;
                bytes.as_mut_slice().copy_from_slice(&padded(&camera.bytes));
                let address = bytes.device_address();
                host.push(bytes);
                address
            } else {
                let bytes = arena.take_with("image", &padded(&camera.bytes))?;
                let address = bytes.address();
                device.push(bytes);
                address
            };
            sources.push(source(index, camera, address));
        }
        Ok(Self {
            sources,
            _device: device,
            _host: host,
        })
    }
}

/// Whole words, as all memory of CUDA has them: checkers count bytes.
fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(16), 0);
    padded
}

fn source(index: usize, camera: &Camera, address: u64) -> ImageSource {
    let [pixels, chroma] = camera.starts.map(|start| address + start as u64);
    ImageSource {
        camera: index,
        format: camera.format,
        address: pixels,
        stride: camera.stride,
        chroma_address: chroma,
        chroma_stride: camera.stride,
    }
}

/// Room for the largest image of a case.
pub(super) fn config(case: &Case) -> ImageConfig {
    let geometries = || case.cameras.iter().map(|camera| &camera.geometry);
    let most = |axis: usize| geometries().map(|g| g.raw[axis]).max().unwrap_or(1);
    let bent = geometries().filter(|geometry| geometry.lens.is_some());
    ImageConfig {
        cameras: case.cameras.len(),
        image_size: case.image_size,
        mean: MEAN,
        std: STD,
        raw_capacity: [most(0), most(1)],
        lens_capacity: bent.map(|g| g.raw[0] * g.raw[1]).max().unwrap_or(0),
    }
}

/// Changes a geometry, asking until the one before has arrived.
pub(super) fn changed(
    images: &mut ImagePreprocess,
    stream: &Stream,
    camera: usize,
    geometry: &ImageGeometry,
) -> Result<(), DriverError> {
    while images.set_geometry(stream, camera, geometry)? == GeometryChange::Busy {
        stream.synchronize()?;
    }
    Ok(())
}

/// For exact comparison.
pub(super) fn integers(bits: &[u16]) -> Vec<i64> {
    bits.iter().map(|v| i64::from(*v)).collect()
}
