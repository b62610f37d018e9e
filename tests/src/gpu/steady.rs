//! A pipeline frame after frame: what a frame costs the host, what it asks of the driver, and whether
//! its boxes are the same bits every time.

use std::time::{Duration, Instant};

use bevfusion::config::ModelConfig;
use bevfusion::cuda::{CudaOptions, CudaPipeline, DeviceCloud, DeviceImage, ImageRefusal};
use bevfusion::dataset::synthetic;
use bevfusion::exec::{BuildError, FrameOutcome};
use bevfusion::input::Frame;
use bevfusion::output::Detection;
use bevfusion::weights::{Weights, expected_tensors};
use bevfusion_kernels::cuda::frame::{CloudData, RowLayout};
use bevfusion_kernels::driver::{Call, Counters, DeviceArena, DeviceSlice};
use bevfusion_kernels::reference::image::PixelFormat;
use bevfusion_kernels::reference::sweep::CloudPlacement;

use crate::formula::{GainProfile, formula_weights};
use crate::report::Report;

/// Frames before anything is counted.
const WARM_UP: usize = 50;
/// Host time that submitting a frame may take at the median.
const HOST_LIMIT_US: f64 = 50.0;

/// The shipped LiDAR model of nuScenes with formula weights.
///
/// # Errors
/// When the preset is broken.
pub fn nuscenes() -> Result<(ModelConfig, Weights), Box<dyn std::error::Error>> {
    let config = ModelConfig::preset("nuscenes_L")?;
    let weights = formula_weights(&expected_tensors(&config), "", GainProfile::FullSize);
    Ok((config, weights))
}

/// The shipped camera-LiDAR model of nuScenes with formula weights, and a made-up frame with its cameras.
///
/// # Errors
/// When the preset is broken.
pub fn nuscenes_cameras() -> Result<(ModelConfig, Weights, Frame), Box<dyn std::error::Error>> {
    let config = ModelConfig::preset("nuscenes_CL")?;
    let weights = formula_weights(&expected_tensors(&config), "", GainProfile::FullSize);
    let frame = synthetic::frame(&config, 7);
    Ok((config, weights, frame))
}

/// Raw images on the device.
#[derive(Debug)]
pub struct DeviceImages {
    images: Vec<DeviceImage>,
    _held: Vec<DeviceSlice<u8>>,
}

impl DeviceImages {
    /// Uploads the images of a frame, and gives their calibrations to the pipeline.
    ///
    /// # Errors
    /// When the GPU has no room or a calibration is refused.
    pub fn new(
        pipeline: &mut CudaPipeline,
        frame: &Frame,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let arena = DeviceArena::new(pipeline.context());
        let (mut images, mut held) = (Vec::new(), Vec::new());
        for (camera, source) in frame.cameras.iter().enumerate() {
            pipeline.set_calibration(camera, source.calibration)?;
            let image = source.image.as_ref().ok_or("a camera without image")?;
            let pixels = arena.take_with("raw image", &image.pixels)?;
            images.push(DeviceImage {
                camera,
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
            images,
            _held: held,
        })
    }

    /// Gives all of them to the pipeline.
    ///
    /// # Errors
    /// When one is refused.
    pub fn push(&self, pipeline: &mut CudaPipeline) -> Result<(), ImageRefusal> {
        pipeline.push_device_images(&self.images)
    }
}

/// A cloud on the device.
#[derive(Debug)]
pub struct DevicePoints {
    values: DeviceSlice<f32>,
    layout: RowLayout,
    columns: usize,
}

impl DevicePoints {
    /// Uploads `values`, `[n, columns]`.
    ///
    /// # Errors
    /// When the GPU has no room.
    pub fn new(pipeline: &CudaPipeline, values: &[f32]) -> Result<Self, BuildError> {
        let columns = pipeline.config().points.load_dim;
        let arena = DeviceArena::new(pipeline.context());
        Ok(Self {
            values: arena.take_with("points", values)?,
            layout: RowLayout::floats(columns),
            columns,
        })
    }

    /// The cloud as a frame takes it.
    #[must_use]
    pub fn cloud(&self) -> DeviceCloud<'_> {
        DeviceCloud {
            data: CloudData {
                address: self.values.address(),
                points: self.values.len() / self.columns,
            },
            layout: &self.layout,
            placement: CloudPlacement::KEY,
        }
    }
}

/// What `frames` frames took.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    /// Time of submitting (µs), sorted.
    pub submit: Vec<f64>,
    /// Time from submitting to boxes on the host (µs), sorted.
    pub frame: Vec<f64>,
    /// Boxes of the frame.
    pub boxes: usize,
}

impl Steady {
    /// The value that a share `p` of the samples does not exceed.
    #[must_use]
    pub fn percentile(values: &[f64], p: f64) -> f64 {
        let rank = (values.len() as f64 * p).ceil() as usize;
        values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }
}

/// Runs `frames` frames of one cloud; the report gets the budget and the equality of bits.
///
/// # Errors
/// When a frame is dropped.
pub fn run(
    pipeline: &mut CudaPipeline,
    (cloud, images): (DeviceCloud<'_>, Option<&DeviceImages>),
    frames: usize,
    report: &mut Report,
) -> Result<Steady, Box<dyn std::error::Error>> {
    let clouds = [cloud];
    let mut first: Vec<Detection> = Vec::new();
    for _ in 0..WARM_UP {
        if let Some(images) = images {
            images.push(pipeline)?;
        }
        let outcome = pipeline.run_device(&clouds, 0).outcome;
        if let FrameOutcome::Dropped(fault) = outcome {
            return Err(fault.into());
        }
        first = pipeline.detections().to_vec();
    }
    let mut steady = Steady {
        submit: Vec::with_capacity(frames),
        frame: Vec::with_capacity(frames),
        boxes: first.len(),
    };
    let before = pipeline.context().counters();
    let mut different = 0_i64;
    let mut frame = || {
        let start = Instant::now();
        let pushed = images.map_or(Ok(()), |images| images.push(pipeline));
        let ticket = pipeline.submit_device(&clouds, 0);
        let submitted = start.elapsed();
        let fetched = ticket
            .ok()
            .and_then(|ticket| pipeline.wait(ticket).map(|_| ()));
        let done = start.elapsed();
        let same = pushed.is_ok() && fetched.is_some() && equal_bits(pipeline.detections(), &first);
        different += i64::from(!same);
        steady.submit.push(microseconds(submitted));
        steady.frame.push(microseconds(done));
    };
    let allocations = allocation_counter::measure(|| (0..frames).for_each(|_| frame()));
    let calls = pipeline.context().counters().since(&before);
    let name = pipeline.config().name.clone();
    let stage = |what: &str| format!("{frames} frames of {name}: {what}");
    report.integers(stage("frames with other boxes"), &[different], &[0]);
    let on_host = [allocations.count_total as i64];
    report.integers(stage("allocations on the frame thread"), &on_host, &[0]);
    budget(&stage, &calls, frames, images.is_some(), report);
    steady.submit.sort_by(f64::total_cmp);
    steady.frame.sort_by(f64::total_cmp);
    let host = Steady::percentile(&steady.submit, 0.5);
    let limit = crate::report::Tolerance::Absolute(HOST_LIMIT_US);
    report.doubles(
        stage("host time of a submit, median (us)"),
        &[host],
        &[0.0],
        limit,
    );
    Ok(steady)
}

/// What the frames asked of the driver: a graph launch each, one more launch for its images, nothing else.
fn budget(
    stage: &dyn Fn(&str) -> String,
    calls: &Counters,
    frames: usize,
    has_images: bool,
    report: &mut Report,
) {
    let forbidden = [
        Call::DeviceAlloc,
        Call::DeviceFree,
        Call::PinnedAlloc,
        Call::PinnedFree,
        Call::BlockingSync,
        Call::AsyncCopy,
    ];
    for call in forbidden {
        report.integers(stage(call.name()), &[calls.of(call) as i64], &[0]);
    }
    // Images are turned into patches when they arrive, outside the graph.
    let kernels = frames * usize::from(has_images);
    let launches = [calls.of(Call::KernelLaunch) as i64];
    report.integers(
        stage(Call::KernelLaunch.name()),
        &launches,
        &[kernels as i64],
    );
    let launches = [calls.of(Call::GraphLaunch) as i64];
    report.integers(stage(Call::GraphLaunch.name()), &launches, &[frames as i64]);
}

/// Boxes of one frame, for comparison with another pipeline.
///
/// # Errors
/// When the model cannot be built or the frame is dropped.
pub fn boxes_of(
    config: &ModelConfig,
    weights: &Weights,
    options: &CudaOptions,
    values: &[f32],
) -> Result<Vec<Detection>, Box<dyn std::error::Error>> {
    let mut pipeline = CudaPipeline::new(config.clone(), weights, options)?;
    let points = DevicePoints::new(&pipeline, values)?;
    match pipeline.run_device(&[points.cloud()], 0).outcome {
        FrameOutcome::Dropped(fault) => Err(fault.into()),
        _ => Ok(pipeline.detections().to_vec()),
    }
}

/// Whether two lists of boxes are the same bits.
#[must_use]
pub fn equal_bits(a: &[Detection], b: &[Detection]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(a) == bits(b))
}

fn bits(d: &Detection) -> [u32; 11] {
    let [x, y, z] = d.bottom_center.map(f32::to_bits);
    let [l, w, h] = d.size.map(f32::to_bits);
    let [vx, vy] = d.velocity.map(f32::to_bits);
    [
        x,
        y,
        z,
        l,
        w,
        h,
        d.yaw.to_bits(),
        vx,
        vy,
        d.score.to_bits(),
        d.label,
    ]
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
