//! Medians of the parts of the view transform at the size of the nuScenes model, with the caches as the run
//! before leaves them.

use std::sync::Arc;

use bevfusion_kernels::cuda::bev_pool::BevPool;
use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::depth_features::{DepthFeatures, SECOND_CHANNELS};
use bevfusion_kernels::cuda::depth_image::{DepthImage, DepthImageConfig};
use bevfusion_kernels::cuda::depth_softmax::{DepthSoftmax, DepthSoftmaxInputs};
use bevfusion_kernels::cuda::view_tables::ViewTables;
use bevfusion_kernels::driver::{Context, DeviceArena, DriverError, Priority, Stream};
use bevfusion_kernels::reference::depth_image::{BehindCamera, DepthWinner};
use half::f16;

use super::super::random::Random;
use super::super::timing::microseconds;
use super::cases::{Case, nuscenes};
use super::features::Weights;
use super::images::{Points, header};

const POINTS: usize = 214_000;
const CHANNELS: usize = 80;

/// Name of a part and its median time (µs).
type Times = Vec<(String, f64)>;

pub(super) fn times(context: &Arc<Context>) -> Result<Times, DriverError> {
    let stream = Stream::new(context, Priority::High)?;
    let case = nuscenes();
    let arena = DeviceArena::new(context);
    let tables = ViewTables::new(context, &arena, &case.config)?;
    let record = case.rig().pinned(context)?;
    let mut times = Times::new();
    let built = microseconds(&stream, || tables.build(&stream, 0, &record))?;
    times.push(("view tables".to_owned(), built));
    stream.synchronize()?;
    let images = depth_times(&stream, &arena, &tables, &mut times)?;
    pool_times(&stream, &arena, (&case, &tables, &images), &mut times)?;
    Ok(times)
}

fn depth_times(
    stream: &Stream,
    arena: &DeviceArena,
    tables: &ViewTables,
    times: &mut Times,
) -> Result<DepthImage, DriverError> {
    let context = stream.context();
    let source = Points::random(POINTS).source(arena, POINTS)?;
    let config = DepthImageConfig {
        behind_camera: BehindCamera::Keep,
        winner: DepthWinner::Last,
    };
    let image = DepthImage::new(context, arena, tables, &source, &config)?;
    let header = header(stream, u32::MAX, 0)?;
    let begin = microseconds(stream, || image.enqueue_begin(stream, &header))?;
    times.push(("depth image clear".to_owned(), begin));
    let project = microseconds(stream, || image.enqueue(stream))?;
    times.push((format!("depth image {POINTS} points"), project));
    let [images, height, width] = image.shape();
    let [rows, columns] = DepthFeatures::output_size([height, width]);
    let out = MapSlice {
        data: arena.take_zeroed("features", images * rows * columns * SECOND_CHANNELS)?,
        pitch: SECOND_CHANNELS,
        channel: 0,
    };
    let weights = Weights::random();
    let layer = DepthFeatures::new(context, arena, &image, &weights.parts(), &out)?;
    let features = microseconds(stream, || layer.enqueue(stream))?;
    times.push(("depth features".to_owned(), features));
    Ok(image)
}

fn pool_times(
    stream: &Stream,
    arena: &DeviceArena,
    (case, tables, images): (&Case, &ViewTables, &DepthImage),
    times: &mut Times,
) -> Result<(), DriverError> {
    let context = stream.context();
    let shape = case.config.shape();
    let pixels = shape.columns() * shape.feature_size[0];
    let mut random = Random::new(41);
    let pitch = shape.depths.next_multiple_of(8) + CHANNELS;
    let logits = random.values(pixels * pitch, 4.0);
    let values = random.values(pixels * CHANNELS, 1.0);
    let values: Vec<u16> = values.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
    let inputs = DepthSoftmaxInputs {
        logits: MapSlice {
            data: arena.take_with("logits", &logits)?,
            pitch,
            channel: 0,
        },
        context: MapSlice {
            data: arena.take_with("context", &values)?,
            pitch: CHANNELS,
            channel: 0,
        },
        frame: images.frame().clone(),
    };
    let softmax = DepthSoftmax::new(context, arena, &shape, CHANNELS, &inputs)?;
    let time = microseconds(stream, || softmax.enqueue(stream))?;
    times.push(("depth softmax".to_owned(), time));
    let grid = case.config.grid.count;
    let out = MapSlice {
        data: arena.take_zeroed("map", grid[0] * grid[1] * CHANNELS)?,
        pitch: CHANNELS,
        channel: 0,
    };
    let lifted = (softmax.lifted(), images.frame());
    let pool = BevPool::new(context, arena, tables, lifted, &out)?;
    let time = microseconds(stream, || pool.enqueue(stream))?;
    times.push(("BEV pool".to_owned(), time));
    Ok(())
}
