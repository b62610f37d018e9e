//! Whole models on the GPU, fp16, every stage against the golden tensors of one frame.

mod camera;

use std::path::Path;

use bevfusion::config::ModelConfig;
use bevfusion::cuda::{CudaEngine, CudaOptions, CudaPipeline, DenseMap, DenseProgram, Detector};
use bevfusion::engine::{Engine, TensorBuffer};
use bevfusion::graph::networks::bev_decoder;
use bevfusion::input::{Frame, PointCloud};
use bevfusion::weights::Weights;
use bevfusion_kernels::driver::{DeviceSlice, Priority, Stream};
use half::f16;

use crate::formula::formula_weights_from_json;
use crate::golden::{GoldenError, GoldenFile};
use crate::mmdet;
use crate::report::{Report, Tolerance};
use crate::sampled::samples;

/// Limits in fp16 with fp32 sums, as ‖difference‖ / ‖golden‖ where nothing else is said.
struct Limits {
    /// Features of the sparse encoder and its map.
    encoder: f64,
    /// SECOND, SECONDFPN, shared features and heatmap logits.
    maps: f64,
    /// Tokens of the backbone, features of the neck.
    swin: f64,
    /// Depth probabilities, pooled map and camera BEV.
    lift: f64,
    /// Queries of the decoder layer, at the median.
    queries: f64,
    /// Share of the golden proposals that may be others.
    other_proposals: f64,
    /// Share of the matched proposals whose box may be further off than `box_error`.
    moved_boxes: f64,
    /// Centre, height, extents of a matched box (cells, m, ln m), heading (sin, cos), velocity (m/s).
    box_error: f64,
}

/// The full-size models attend ill-conditioned (ADR 8): float32 noise moves single queries a thousandfold.
const LIMITS: Limits = Limits {
    encoder: 4e-3,
    maps: 6e-3,
    swin: 1e-2,
    lift: 2e-2,
    queries: 1e-2,
    other_proposals: 0.06,
    moved_boxes: 0.05,
    box_error: 0.1,
};

struct Case<'a> {
    name: &'a str,
    golden: GoldenFile,
    report: &'a mut Report,
}

/// Runs model `name` with the given convolution kernels.
///
/// # Errors
/// When a golden file is absent or malformed, or the GPU refuses the model.
pub fn run(
    models_dir: &Path,
    name: &str,
    options: &CudaOptions,
    report: &mut Report,
) -> Result<(), GoldenError> {
    let model = mmdet::read(models_dir, name)?;
    let weights_file = models_dir.join(format!("{name}.weights.json"));
    let weights = formula_weights_from_json(&weights_file, &model.salt)?;
    let inputs = GoldenFile::open(&models_dir.join(format!("{name}.inputs.safetensors")))?;
    let mut spec = model.spec;
    let points = frame_of(&inputs.f32("in.points")?, spec.points.load_dim);
    camera::take_network_images(&mut spec);
    // The golden clouds carry their time lags: a column that no point has takes what the sweep writes.
    spec.points.time_column = spec.points.load_dim;
    spec.points.load_dim += 1;
    let config = ModelConfig::new(spec).map_err(|error| refused(name, &error))?;
    let mut pipeline = pipeline(name, config, &weights, options)?;
    let mut case = Case {
        name,
        golden: GoldenFile::open(&models_dir.join(format!("{name}.safetensors")))?,
        report,
    };
    let frame = camera::with_images(points, &mut pipeline, &inputs, &case.golden)?;
    let boxes = pipeline.run(&frame).counts.detections;
    let detector = pipeline.detector();
    case.camera_maps(detector)?;
    case.maps(detector)?;
    case.stages_of_second(detector, pipeline.config(), &weights, options)?;
    case.proposals(detector)?;
    case.report.integers(
        format!("{name} boxes inside the range"),
        &[boxes as i64],
        &[case.golden.shape("out.none.labels")?[0] as i64],
    );
    let stream = Stream::new(pipeline.context(), Priority::Normal);
    let stream = stream.map_err(|error| refused(name, &error))?;
    case.camera_stages(detector, pipeline.config(), (&weights, options), &stream)?;
    case.encoder(detector, &stream)?;
    Ok(())
}

fn pipeline(
    name: &str,
    config: ModelConfig,
    weights: &Weights,
    options: &CudaOptions,
) -> Result<CudaPipeline, GoldenError> {
    CudaPipeline::new(config, weights, options).map_err(|error| refused(name, &error))
}

/// The golden points with one more column, zero.
fn frame_of(values: &[f32], columns: usize) -> Frame {
    let mut wide = Vec::with_capacity(values.len() / columns * (columns + 1));
    for point in values.chunks_exact(columns) {
        wide.extend_from_slice(point);
        wide.push(0.0);
    }
    Frame {
        points: PointCloud {
            values: wide,
            columns: columns + 1,
        },
        ..Frame::default()
    }
}

impl Case<'_> {
    /// Sites and features after each block, by running the convolutions up to there again.
    fn encoder(&mut self, detector: &Detector, stream: &Stream) -> Result<(), GoldenError> {
        let Some(lidar) = detector.lidar() else {
            return Ok(());
        };
        let rows = download(self.name, lidar.rulebooks().rows())?;
        let mut done = 0;
        for tap in lidar.taps() {
            lidar
                .enqueue_convs(stream, done..tap.after)
                .map_err(|error| refused(&tap.name, &error))?;
            done = tap.after;
            if !self.has(&format!("{}.feats", tap.name)) {
                continue;
            }
            let count = rows[tap.level] as usize;
            let level = &lidar.rulebooks().levels()[tap.level];
            // What lies behind the rows was never written.
            let sites = download(&tap.name, &level.site.part(0, count))?;
            let coords: Vec<i64> = sites
                .iter()
                .flat_map(|site| {
                    let column = i64::from(site >> 6);
                    let y = level.shape[1] as i64;
                    [column / y, column % y, i64::from(site & 63)]
                })
                .collect();
            self.integers(&format!("{}.coords", tap.name), &coords)?;
            let features = download(&tap.name, &tap.features.part(0, count * tap.pitch))?;
            let real: Vec<f32> = features
                .chunks_exact(tap.pitch)
                .flat_map(|row| {
                    row[..tap.channels]
                        .iter()
                        .map(|v| f16::from_bits(*v).to_f32())
                })
                .collect();
            self.floats(&format!("{}.feats", tap.name), &real, LIMITS.encoder)?;
        }
        Ok(())
    }

    /// Dense maps that are still there after the frame.
    fn maps(&mut self, detector: &Detector) -> Result<(), GoldenError> {
        let Some(decoder) = detector.bev_decoder() else {
            return Ok(());
        };
        let Some(bev) = decoder.inputs().last() else {
            return Ok(());
        };
        self.map("enc.bev", bev, LIMITS.encoder)?;
        let named = ["neck.out", "head.shared", "head.dense_heatmap"];
        let maps = decoder.outputs().iter();
        for (name, map) in named
            .into_iter()
            .zip(maps.chain(detector.head_maps().outputs()))
        {
            self.map(name, map, LIMITS.maps)?;
        }
        Ok(())
    }

    /// Maps inside the BEV decoder, whose memory a frame uses again: by the engine for single networks.
    fn stages_of_second(
        &mut self,
        detector: &Detector,
        config: &ModelConfig,
        weights: &Weights,
        options: &CudaOptions,
    ) -> Result<(), GoldenError> {
        let mut names = vec!["second.0", "second.1", "neck.out"];
        if config.fuser.is_some() {
            names.insert(0, "fuse.out");
        }
        let graph = bev_decoder(config, weights).map_err(|error| refused("second", &error))?;
        let graph = graph
            .with_outputs(&names)
            .map_err(|error| refused("second", &error))?;
        let engine = CudaEngine::new(options.device, options.kernels);
        let engine = engine.map_err(|error| refused("second", &error))?;
        let mut network = engine
            .load(&graph)
            .map_err(|error| refused("second", &error))?;
        let mut outputs = vec![TensorBuffer::default(); names.len()];
        let maps = detector.bev_decoder().map(DenseProgram::inputs);
        let inputs: Result<Vec<Vec<f32>>, GoldenError> = (maps.unwrap_or_default().iter())
            .map(|map| planar("enc.bev", map))
            .collect();
        let inputs = inputs?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let ran = network.run(&inputs, &mut outputs);
        ran.map_err(|error| refused("second", &error))?;
        for (name, output) in names.into_iter().zip(&outputs) {
            self.floats(name, output.f32().unwrap_or_default(), LIMITS.maps)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str, map: &DenseMap, limit: f64) -> Result<(), GoldenError> {
        let planar = planar(name, map)?;
        self.floats(name, &planar, limit)
    }

    /// Proposals matched by their place in the heatmap, then their boxes.
    fn proposals(&mut self, detector: &Detector) -> Result<(), GoldenError> {
        let found: Vec<i64> = download("topk", detector.proposals().index())?
            .iter()
            .map(|index| i64::from(*index))
            .collect();
        let golden = self.golden.i64("head.topk_index")?;
        let place = |index: &i64| found.iter().position(|other| other == index);
        let matched: Vec<(usize, usize)> = golden
            .iter()
            .enumerate()
            .filter_map(|(want, index)| Some((want, place(index)?)))
            .collect();
        self.queries(detector, &matched)?;
        let missing = 1.0 - matched.len() as f64 / golden.len().max(1) as f64;
        let stage = format!("{} share of other proposals", self.name);
        let limit = Tolerance::Absolute(LIMITS.other_proposals);
        self.report.doubles(stage, &[missing], &[0.0], limit);
        self.boxes(detector, &matched)
    }

    /// Queries behind each part of the decoder layer: the median over the matched proposals.
    fn queries(
        &mut self,
        detector: &Detector,
        matched: &[(usize, usize)],
    ) -> Result<(), GoldenError> {
        let outputs = detector.decoder().outputs();
        let stages = [
            ("head.after_self_attn", &outputs.after_self_attn, false),
            ("head.after_cross_attn", &outputs.after_cross_attn, false),
            ("head.decoder_out", &outputs.decoder_out, true),
        ];
        for (name, slice, channels_first) in stages {
            let found = download(name, slice)?;
            if !self.golden.has(name) {
                self.sampled_queries(name, (&found, channels_first), matched)?;
                continue;
            }
            let golden = self.golden.f32(name)?;
            let count = detector.proposals().index().len();
            let (channels, pitch) = (golden.len() / count, found.len() / count);
            let want = |query: usize, channel: usize| match channels_first {
                true => golden[channel * count + query],
                false => golden[query * channels + channel],
            };
            let mut errors: Vec<f64> = matched
                .iter()
                .map(|(wanted, got)| {
                    let row = &found[got * pitch..][..channels];
                    let pairs = row.iter().enumerate().map(|(c, v)| (*v, want(*wanted, c)));
                    let away: f64 = pairs.clone().map(|(v, w)| f64::from(v - w).powi(2)).sum();
                    let size: f64 = pairs.map(|(_, w)| f64::from(w).powi(2)).sum();
                    (away / size.max(f64::MIN_POSITIVE)).sqrt()
                })
                .collect();
            errors.sort_by(f64::total_cmp);
            let median = errors
                .get(errors.len() / 2)
                .copied()
                .unwrap_or(f64::INFINITY);
            let stage = format!("{} {name}, median of queries", self.name);
            let limit = Tolerance::Absolute(LIMITS.queries);
            self.report.doubles(stage, &[median], &[0.0], limit);
        }
        Ok(())
    }

    /// The same where the golden set has samples only: single values instead of queries, over the root mean
    /// square of all.
    fn sampled_queries(
        &mut self,
        name: &str,
        (found, channels_first): (&[f32], bool),
        matched: &[(usize, usize)],
    ) -> Result<(), GoldenError> {
        let shape = self.golden.i64(&format!("{name}.shape"))?;
        let (count, channels) = match (channels_first, &shape[..]) {
            (true, [channels, count]) | (false, [count, channels]) => {
                (*count as usize, *channels as usize)
            }
            _ => return Err(refused(name, &"two axes expected")),
        };
        let pitch = found.len() / count.max(1);
        let mut ordered = vec![f32::NAN; count * channels];
        for (want, got) in matched {
            for channel in 0..channels {
                let at = match channels_first {
                    true => channel * count + want,
                    false => want * channels + channel,
                };
                ordered[at] = found[got * pitch + channel];
            }
        }
        let want = self.golden.f32(&format!("{name}.sub"))?;
        let got = samples(name, &ordered, want.len());
        let square: f64 = want.iter().map(|w| f64::from(*w).powi(2)).sum();
        let scale = (square / want.len().max(1) as f64)
            .sqrt()
            .max(f64::MIN_POSITIVE);
        let pairs = got.iter().zip(&want).filter(|(got, _)| !got.is_nan());
        let mut errors: Vec<f64> = pairs
            .map(|(got, want)| f64::from((got - want).abs()) / scale)
            .collect();
        errors.sort_by(f64::total_cmp);
        let middle = errors.get(errors.len() / 2);
        let median = middle.copied().unwrap_or(f64::INFINITY);
        let stage = format!("{} {name}, median of samples", self.name);
        let limit = Tolerance::Absolute(LIMITS.queries);
        self.report.doubles(stage, &[median], &[0.0], limit);
        Ok(())
    }

    fn boxes(
        &mut self,
        detector: &Detector,
        matched: &[(usize, usize)],
    ) -> Result<(), GoldenError> {
        let outputs = detector.decoder().outputs();
        let codes = download("bbox_pred", &outputs.bbox_pred)?;
        let scores = download("score", &outputs.score)?;
        let count = scores.len();
        let mut wanted = Vec::new();
        for name in ["center", "height", "dim", "rot", "vel"] {
            wanted.extend(self.golden.f32(&format!("head.pred.{name}"))?);
        }
        let golden_count = wanted.len() / 10;
        let away = |(want, got): &(usize, usize)| {
            (0..10)
                .map(|row| {
                    f64::from((codes[row * count + got] - wanted[row * golden_count + want]).abs())
                })
                .fold(0.0, f64::max)
        };
        let mut errors: Vec<f64> = matched.iter().map(away).collect();
        errors.sort_by(f64::total_cmp);
        let moved = errors
            .iter()
            .filter(|error| **error > LIMITS.box_error)
            .count();
        let share = moved as f64 / errors.len().max(1) as f64;
        let name = self.name;
        let limit = Tolerance::Absolute(LIMITS.moved_boxes);
        self.report.doubles(
            format!("{name} share of moved boxes"),
            &[share],
            &[0.0],
            limit,
        );
        let median = errors
            .get(errors.len() / 2)
            .copied()
            .unwrap_or(f64::INFINITY);
        let limit = Tolerance::Absolute(LIMITS.box_error / 5.0);
        self.report
            .doubles(format!("{name} median box error"), &[median], &[0.0], limit);
        let golden_scores = self.golden.f32("out.all.scores")?;
        let mut scores: Vec<f64> = matched
            .iter()
            .map(|(want, got)| f64::from((golden_scores[*want] - scores[*got]).abs()))
            .collect();
        scores.sort_by(f64::total_cmp);
        let median = scores
            .get(scores.len() / 2)
            .copied()
            .unwrap_or(f64::INFINITY);
        let limit = Tolerance::Absolute(2e-3);
        self.report.doubles(
            format!("{name} median score error"),
            &[median],
            &[0.0],
            limit,
        );
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.golden.has(name) || self.golden.has(&format!("{name}.sub"))
    }

    fn floats(&mut self, name: &str, got: &[f32], limit: f64) -> Result<(), GoldenError> {
        let (got, want) = if self.golden.has(name) {
            (got.to_vec(), self.golden.f32(name)?)
        } else {
            let want = self.golden.f32(&format!("{name}.sub"))?;
            (samples(name, got, want.len()), want)
        };
        let stage = format!("{} {name}", self.name);
        self.report
            .floats(stage, &got, &want, Tolerance::RelativeL2(limit));
        Ok(())
    }

    fn integers(&mut self, name: &str, got: &[i64]) -> Result<(), GoldenError> {
        let (got, want) = if self.golden.has(name) {
            (got.to_vec(), self.golden.i64(name)?)
        } else {
            let want = self.golden.i64(&format!("{name}.sub"))?;
            (samples(name, got, want.len()), want)
        };
        self.report
            .integers(format!("{} {name}", self.name), &got, &want);
        Ok(())
    }
}

/// A map as `[C, X, Y]`.
fn planar(name: &str, map: &DenseMap) -> Result<Vec<f32>, GoldenError> {
    match (map.half(), map.float()) {
        (Some(half), _) => {
            let values: Vec<f32> = download(name, half)?
                .iter()
                .map(|v| f16::from_bits(*v).to_f32())
                .collect();
            Ok(map.to_planar(&values))
        }
        (None, Some(float)) => Ok(map.to_planar(&download(name, float)?)),
        (None, None) => Ok(Vec::new()),
    }
}

fn download<T: bytemuck::Pod>(stage: &str, slice: &DeviceSlice<T>) -> Result<Vec<T>, GoldenError> {
    slice.download().map_err(|error| refused(stage, &error))
}

fn refused(stage: &str, problem: &dyn std::fmt::Display) -> GoldenError {
    GoldenError::Refused {
        stage: stage.into(),
        problem: problem.to_string(),
    }
}
