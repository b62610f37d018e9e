//! The camera branch of a golden frame: the network's images as they are, the golden matrices, and the cells
//! of points on a cell border, then every stage of the branch.

use bevfusion::camera::ViewTransform;
use bevfusion::config::{ModelConfig, ModelSpec};
use bevfusion::cuda::{
    CameraProgram, CudaEngine, CudaOptions, CudaPipeline, DenseProgram, Detector,
};
use bevfusion::engine::{Engine, TensorBuffer};
use bevfusion::geometry::{CameraCalibration, Transform};
use bevfusion::graph::networks::depth_maps;
use bevfusion::input::{CameraFrame, Frame, RgbImage};
use bevfusion::weights::Weights;
use bevfusion_kernels::driver::{DeviceArena, Stream};
use half::f16;

use super::{Case, LIMITS, download, planar, refused};
use crate::golden::{GoldenError, GoldenFile};
use crate::models::camera::{BORDER_PIXELS, border_cells, camera_matrices, golden_depth};
use crate::report::Row;

/// The golden images are the network's: nothing is left to resize.
pub(super) fn take_network_images(spec: &mut ModelSpec) {
    if let Some(camera) = &mut spec.camera {
        (camera.resize, camera.bottom_crop) = (1.0, 0.0);
    }
}

/// The frame with its images; matrices and cells go to the pipeline itself.
pub(super) fn with_images(
    frame: Frame,
    pipeline: &mut CudaPipeline,
    inputs: &GoldenFile,
    golden: &GoldenFile,
) -> Result<Frame, GoldenError> {
    let Some(camera) = pipeline.config().camera.clone() else {
        return Ok(frame);
    };
    let (matrices, lidar) = camera_matrices(inputs)?;
    let mut view = ViewTransform::new(&camera);
    view.set_matrices(&matrices, lidar)
        .map_err(|error| refused("lss.geom", &error))?;
    view.override_cells(border_cells(golden)?);
    let grid = *view.grid();
    let rank = |cell: &[i32; 3]| grid.rank(*cell).map_or(-1, |rank| rank as i32);
    let ranks: Vec<i32> = view.cells().iter().map(rank).collect();
    let arena = DeviceArena::new(pipeline.context());
    let ranks = arena.take_with("golden ranks", &ranks);
    let ranks = ranks.map_err(|error| refused("lss.cells", &error))?;
    pipeline.override_matrices(&matrices, lidar);
    pipeline.override_ranks(ranks);
    let pixels = inputs.u8("in.img_u8")?;
    let [height, width] = camera.image_size;
    let images = pixels.chunks_exact(3 * height * width);
    let calibration = CameraCalibration {
        image_from_camera: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        camera_from_lidar: Transform::IDENTITY,
    };
    let cameras = camera.camera_order.iter().zip(images);
    Ok(Frame {
        cameras: cameras
            .map(|(name, pixels)| CameraFrame {
                name: name.clone(),
                image: Some(RgbImage {
                    width,
                    height,
                    pixels: pixels.to_vec(),
                }),
                calibration,
                stamp_ns: None,
            })
            .collect(),
        ..frame
    })
}

impl Case<'_> {
    /// Maps of the branch that are still there after the frame.
    pub(super) fn camera_maps(&mut self, detector: &Detector) -> Result<(), GoldenError> {
        let Some(camera) = detector.camera() else {
            return Ok(());
        };
        for (index, map) in camera.neck().inputs().iter().enumerate() {
            self.map(&format!("swin.out{index}"), map, LIMITS.swin)?;
        }
        for map in camera.neck().outputs() {
            self.map("fpn.out0", map, LIMITS.swin)?;
        }
        self.depth_images(detector)?;
        let probability = depth_probability(camera)?;
        self.floats("lss.depth_prob", &probability, LIMITS.lift)?;
        self.map("lss.pool", camera.pooled(), LIMITS.lift)?;
        let maps = detector.bev_decoder().map(DenseProgram::inputs);
        match maps.and_then(<[_]>::first) {
            Some(map) => self.map("lss.out", map, LIMITS.lift),
            None => Ok(()),
        }
    }

    /// Depth images, but for points on a pixel border.
    fn depth_images(&mut self, detector: &Detector) -> Result<(), GoldenError> {
        let Some(camera) = detector.camera() else {
            return Ok(());
        };
        let [images, height, width] = camera.depth_image().shape();
        let words = download("lss.depth_in", camera.depth_image().map())?;
        let got = (words.iter().take(images * height * width))
            .map(|word| f32::from_bits((*word & 0xffff_ffff) as u32));
        let want = golden_depth(&self.golden, images * height * width)?;
        let close = |(a, b): (f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        let differing = got.zip(&want).filter(|pair| !close(*pair)).count();
        let hit = want.iter().filter(|depth| **depth > 0.0).count();
        self.report.rows.push(Row {
            stage: format!("{} lss.depth_in", self.name),
            error: differing as f64 / hit.max(1) as f64,
            limit: BORDER_PIXELS,
            note: format!("{differing} of {hit} pixels differ"),
        });
        Ok(())
    }

    /// Stages whose memory a frame uses again: the backbone's blocks by running it up to there, the depth
    /// image's last layer by the engine for single networks.
    pub(super) fn camera_stages(
        &mut self,
        detector: &Detector,
        config: &ModelConfig,
        (weights, options): (&Weights, &CudaOptions),
        stream: &Stream,
    ) -> Result<(), GoldenError> {
        let (Some(camera), Some(spec)) = (detector.camera(), &config.camera) else {
            return Ok(());
        };
        for tap in camera.swin().taps() {
            if !self.has(&tap.name) {
                continue;
            }
            let ran = camera.swin().enqueue_first(stream, tap.after);
            ran.map_err(|error| refused(&tap.name, &error))?;
            let tokens = download(&tap.name, &tap.tokens.part(0, tap.rows * tap.pitch))?;
            let rows = tokens.chunks_exact(tap.pitch);
            let real = rows.flat_map(|row| row[..tap.channels].iter());
            let real: Vec<f32> = real.map(|v| f16::from_bits(*v).to_f32()).collect();
            self.floats(&tap.name, &real, LIMITS.swin)?;
        }
        let graph = depth_maps(config, weights, spec.camera_order.len())
            .and_then(|graph| graph.with_outputs(&["lss.dtransform"]))
            .map_err(|error| refused("lss.dtransform", &error))?;
        let engine = CudaEngine::new(options.device, options.kernels)
            .map_err(|error| refused("lss.dtransform", &error))?;
        let inputs = camera.depth_maps().inputs().iter();
        let inputs = inputs
            .map(|map| planar("lss.dtransform", map))
            .collect::<Result<Vec<_>, _>>()?;
        // Without the features, which the layer does not see.
        let inputs: Vec<&[f32]> = inputs
            .iter()
            .map(Vec::as_slice)
            .take(graph.inputs.len())
            .collect();
        let mut outputs = vec![TensorBuffer::default()];
        engine
            .load(&graph)
            .and_then(|mut network| network.run(&inputs, &mut outputs))
            .map_err(|error| refused("lss.dtransform", &error))?;
        self.floats(
            "lss.dtransform",
            outputs[0].f32().unwrap_or_default(),
            LIMITS.lift,
        )
    }
}

/// `[N, D, h, w]` of what the pooling reads column by column.
fn depth_probability(camera: &CameraProgram) -> Result<Vec<f32>, GoldenError> {
    let lifted = camera.softmax().lifted();
    let shape = lifted.shape;
    let values = download("lss.depth_prob", &lifted.probability)?;
    let [rows, columns] = shape.feature_size;
    let area = rows * columns;
    let at = |index: usize| {
        let (image, depth) = (index / (shape.depths * area), index / area % shape.depths);
        let (row, column) = (index % area / columns, index % columns);
        ((image * columns + column) * shape.depths + depth) * shape.padded_rows() + row
    };
    let points = 0..shape.points();
    Ok(points
        .map(|index| f16::from_bits(values[at(index)]).to_f32())
        .collect())
}
