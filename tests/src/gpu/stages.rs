//! GPU times of the stages of a frame on one cloud, each captured alone and replayed.

use bevfusion::cuda::{CameraProgram, CudaPipeline, DeviceCloud, LidarProgram, Streams};
use bevfusion_kernels::cuda::frame::{CloudHeader, FrameHeader};
use bevfusion_kernels::driver::{DriverError, PinnedSlice, Stream};

use super::timing::microseconds;

/// A stage and its median time (µs).
pub type StageTime = (&'static str, f64);

/// Times of all stages; the pipeline has run the cloud before. With cameras all of them count, with the
/// table set that the last frame used first.
///
/// # Errors
/// When the driver refuses.
pub fn times(
    pipeline: &CudaPipeline,
    cloud: &DeviceCloud<'_>,
) -> Result<Vec<StageTime>, DriverError> {
    let streams = Streams::new(pipeline.context())?;
    let stream = streams.main();
    let detector = pipeline.detector();
    let sweep = detector.sweep();
    let mut header = PinnedSlice::<FrameHeader>::new(pipeline.context(), 1)?;
    let clouds: [CloudHeader; 1] = [sweep.cloud(cloud.data, cloud.layout, &cloud.placement)?];
    if let Some(header) = header.as_mut_slice().first_mut() {
        header.set(&clouds)?;
        header.set_view(!0, 1);
    }
    let mut times = Vec::new();
    let mut time = |name, enqueue: &dyn Fn() -> Result<(), DriverError>| {
        times.push((name, microseconds(stream, enqueue)?));
        Ok::<(), DriverError>(())
    };
    time("sweep", &|| sweep.enqueue(stream, &header))?;
    if let Some(lidar) = detector.lidar() {
        lidar_times(lidar, stream, &mut time)?;
        time("sweep and voxels", &|| {
            sweep.enqueue(stream, &header)?;
            lidar.enqueue_voxels(stream)
        })?;
    }
    if let Some(camera) = detector.camera() {
        time("frame settings and empty depth images", &|| {
            camera.enqueue_begin(stream, &header)
        })?;
        camera_times(camera, stream, &mut time)?;
    }
    if let Some(decoder) = detector.bev_decoder() {
        let name = match detector.camera() {
            Some(_) => "ConvFuser, SECOND and SECONDFPN",
            None => "SECOND and SECONDFPN",
        };
        time(name, &|| decoder.enqueue(stream))?;
    }
    let maps = detector.head_maps();
    time("dense part of the head", &|| maps.enqueue(stream))?;
    time("proposals", &|| detector.proposals().enqueue(stream))?;
    time("query decoder", &|| detector.decoder().enqueue(stream))?;
    time("head with proposals and query decoder", &|| {
        detector.enqueue_head(stream)
    })?;
    time("decoding and suppression", &|| {
        detector.enqueue_postprocess(stream)
    })?;
    time("frame", &|| detector.enqueue_frame(&streams, &header))?;
    Ok(times)
}

/// Takes a stage's time.
type Time<'a> =
    dyn FnMut(&'static str, &dyn Fn() -> Result<(), DriverError>) -> Result<(), DriverError> + 'a;

fn lidar_times(
    lidar: &LidarProgram,
    stream: &Stream,
    time: &mut Time<'_>,
) -> Result<(), DriverError> {
    time("rulebooks", &|| lidar.rulebooks().enqueue(stream))?;
    time("sparse encoder with rulebooks and dense map", &|| {
        lidar.enqueue_empty_map(stream)?;
        lidar.enqueue_encoder(stream)
    })
}

fn camera_times(
    camera: &CameraProgram,
    stream: &Stream,
    time: &mut Time<'_>,
) -> Result<(), DriverError> {
    time("Swin", &|| camera.swin().enqueue(stream))?;
    time("LSSFPN", &|| camera.neck().enqueue(stream))?;
    time("depth images", &|| camera.depth_image().enqueue(stream))?;
    time("depth images and their first layers", &|| {
        camera.enqueue_depth(stream)
    })?;
    time("depth network", &|| camera.depth_maps().enqueue(stream))?;
    time("depth network and softmax", &|| {
        camera.enqueue_depth_net(stream)
    })?;
    time("BEV pooling", &|| camera.enqueue_pool(stream))?;
    time("BEV down-sampling", &|| camera.enqueue_downsample(stream))
}
