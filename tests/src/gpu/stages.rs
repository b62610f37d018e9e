//! GPU times of the stages of a LiDAR frame on one cloud, each captured alone and replayed.

use bevfusion::cuda::{CudaPipeline, DeviceCloud};
use bevfusion_kernels::cuda::frame::{CloudHeader, FrameHeader};
use bevfusion_kernels::driver::{DriverError, PinnedSlice, Priority, Stream};

use super::timing::microseconds;

/// Puts a stage on a stream.
type Enqueue<'a> = dyn Fn() -> Result<(), DriverError> + 'a;

/// A stage and its median time (µs).
pub type StageTime = (&'static str, f64);

/// Times of all stages; the pipeline has run the cloud before.
///
/// # Errors
/// When the driver refuses.
pub fn times(
    pipeline: &CudaPipeline,
    cloud: &DeviceCloud<'_>,
) -> Result<Vec<StageTime>, DriverError> {
    let stream = Stream::new(pipeline.context(), Priority::High)?;
    let detector = pipeline.detector();
    let lidar = detector.lidar();
    let mut header = PinnedSlice::<FrameHeader>::new(pipeline.context(), 1)?;
    let clouds: [CloudHeader; 1] =
        [lidar
            .sweep()
            .cloud(cloud.data, cloud.layout, &cloud.placement)?];
    if let Some(header) = header.as_mut_slice().first_mut() {
        header.set(&clouds)?;
    }
    let no_marks = |_stage| Ok(());
    let stages: [(&'static str, &Enqueue<'_>); 10] = [
        ("sweep and voxels", &|| {
            lidar.enqueue_voxels(&stream, &header)
        }),
        ("rulebooks", &|| lidar.rulebooks().enqueue(&stream)),
        ("sparse encoder with rulebooks and dense map", &|| {
            lidar.enqueue_encoder(&stream)
        }),
        ("SECOND and SECONDFPN", &|| {
            detector.bev_decoder().enqueue(&stream)
        }),
        ("dense part of the head", &|| {
            detector.head_maps().enqueue(&stream)
        }),
        ("proposals", &|| detector.proposals().enqueue(&stream)),
        ("query decoder", &|| detector.decoder().enqueue(&stream)),
        ("head with proposals and query decoder", &|| {
            detector.enqueue_head(&stream)
        }),
        ("decoding and suppression", &|| {
            detector.enqueue_postprocess(&stream)
        }),
        ("frame", &|| detector.enqueue(&stream, &header, no_marks)),
    ];
    let mut times = Vec::new();
    for (name, enqueue) in stages {
        times.push((name, microseconds(&stream, enqueue)?));
    }
    Ok(times)
}
