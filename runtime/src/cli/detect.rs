//! `bevfusion detect`: frames in, tables, pictures and result files out.

use std::collections::BTreeMap;
use std::error::Error;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::DetectArgs;
use super::console::Console;
use super::engine::Workers;
use super::frames::{Frames, Item, ground_truth};
use super::results::Results;
use super::{Answer, model};
use crate::config::ModelConfig;
use crate::exec::{
    FrameFault, FrameOutcome, FrameReport, Pipeline, PipelineBuilder, StageId, explain,
};
use crate::output::{FrameResult, FrameView, detection_table};

/// Rows of a table.
const TABLE_ROWS: usize = 20;

/// Runs the command.
pub(super) fn run(args: &DetectArgs, console: &mut Console<'_>) -> Answer {
    let (config, weights) = model::with_weights(&args.model, &args.weights)?;
    let frames = Frames::open(args, &config)?;
    if frames.len() == 0 {
        return Err("there is no frame to detect in: the selection is empty".into());
    }
    let results = Results::create(args, &config, frames.forward(), console)?;
    let pipeline = PipelineBuilder::new(config, &weights).camera_policy(args.camera_policy());
    let (pipeline, remark) = args.engine.build(pipeline)?;
    if let Some(remark) = remark {
        console.remark(&remark)?;
    }
    let mut session = Session {
        args,
        pipeline,
        workers: args.engine.workers()?,
        results,
        tally: Tally::default(),
        bar: progress(frames.len(), console)?,
    };
    drop(weights);

    for index in 0..frames.len() {
        match frames.read(index, session.pipeline.config()) {
            Ok(item) => session.detect(&item, console)?,
            Err(error) if error.is_skip() => {
                session.tally.skipped += 1;
                let text = format!("skipped {}: {error}", frames.id(index));
                session.bar.suspend(|| console.remark(&text))?;
            }
            Err(error) if frames.len() == 1 => return Err(error.into()),
            Err(error) => {
                session.tally.unreadable += 1;
                let text = format!("unreadable {}: {error}", frames.id(index));
                session.bar.suspend(|| console.remark(&text))?;
            }
        }
        session.bar.inc(1);
    }
    session.bar.finish_and_clear();
    session.results.finish()?;
    session.tally.finish(args, console)
}

/// How the frames of a run ended.
#[derive(Default)]
struct Tally {
    detected: usize,
    degraded: usize,
    skipped: usize,
    dropped: usize,
    unreadable: usize,
}

impl Tally {
    fn finish(&self, args: &DetectArgs, console: &mut Console<'_>) -> Answer {
        let Self {
            detected,
            degraded,
            skipped,
            dropped,
            unreadable,
        } = self;
        let mut text = format!(
            "frames: {detected} detected ({degraded} of them degraded), {skipped} skipped, {dropped} \
             dropped"
        );
        if *unreadable > 0 {
            text.push_str(&format!(", {unreadable} unreadable"));
        }
        text.push_str(&format!("; results in {}", args.output.display()));
        if args.json {
            console.remark(&text)?
        } else {
            console.say(&text)?
        }
        if *detected == 0 {
            return Err("no frame could be detected in: the lines above say why".into());
        }
        if *unreadable > 0 {
            let text = "of the frames could not be read: the lines above say why; the others are in the results";
            return Err(format!("{unreadable} {text}").into());
        }
        Ok(())
    }
}

/// A run over several frames.
struct Session<'a> {
    args: &'a DetectArgs,
    pipeline: Pipeline,
    workers: Workers,
    results: Results,
    tally: Tally,
    bar: ProgressBar,
}

impl Session<'_> {
    fn detect(&mut self, item: &Item, console: &mut Console<'_>) -> Answer {
        let report = self.workers.run(&mut self.pipeline, &item.frame);
        match report.outcome {
            FrameOutcome::Dropped(fault) => return self.dropped(item, (fault, &report), console),
            FrameOutcome::Degraded(lost) => {
                self.tally.degraded += 1;
                let unused = unused_cameras(self.pipeline.config(), &report);
                let text = format!("degraded {}: {lost}{unused}", item.id);
                self.bar.suspend(|| console.remark(&text))?;
            }
            FrameOutcome::Complete => {}
        }
        self.tally.detected += 1;
        let config = self.pipeline.config();
        let truth = ground_truth(item.truth.as_ref(), config);
        let model = (config.name.as_str(), config.class_names.as_slice());
        let detections = self.pipeline.detections();
        let view = FrameView::new((&item.id, &item.frame), model, detections, &truth);
        let result = FrameResult::new(&item.id, model, detections, timings(&report));
        self.results.write(&view, item, &result)?;
        let args = self.args;
        self.bar
            .suspend(|| show(args, &view, (&result, &report), console))
    }

    fn dropped(
        &mut self,
        item: &Item,
        (fault, report): (FrameFault, &FrameReport),
        console: &mut Console<'_>,
    ) -> Answer {
        self.tally.dropped += 1;
        let Self { pipeline, .. } = self;
        let why = explain(pipeline.config(), pipeline.camera_policy(), &item.frame).join("; ");
        let why = if why.is_empty() {
            format!("{fault}{}", unused_cameras(pipeline.config(), report))
        } else {
            why
        };
        let text = format!("dropped {}: {why}", item.id);
        self.bar.suspend(|| console.remark(&text))?;
        self.results.write_dropped(item)
    }
}

fn show(
    args: &DetectArgs,
    view: &FrameView<'_>,
    (result, report): (&FrameResult, &FrameReport),
    console: &mut Console<'_>,
) -> Answer {
    if args.json {
        return Ok(console.say(&serde_json::to_string(result)?)?);
    }
    let counts = report.counts;
    console.say(&format!(
        "{}: {} points, {} voxels, {} boxes in {:.2} s",
        view.frame_id,
        counts.points_in_range,
        counts.voxels,
        counts.detections,
        report.total_time().as_secs_f64()
    ))?;
    console.say(&detection_table(
        view.detections,
        view.class_names,
        args.min_score,
        TABLE_ROWS,
    ))?;
    Ok(())
}

/// The cameras that were not used and why, behind a sentence; nothing when all were.
fn unused_cameras(config: &ModelConfig, report: &FrameReport) -> String {
    let order = config.camera.as_ref();
    let unused = order.map(|camera| report.cameras.unused(&camera.camera_order));
    match unused {
        Some(unused) if !unused.is_empty() => format!(" ({unused})"),
        _ => String::new(),
    }
}

fn timings(report: &FrameReport) -> BTreeMap<String, f64> {
    let times = StageId::ALL.iter().zip(report.stage_times);
    times
        .map(|(stage, time)| (stage.name().to_owned(), 1e3 * time.as_secs_f64()))
        .collect()
}

fn progress(frames: usize, console: &Console<'_>) -> Result<ProgressBar, Box<dyn Error>> {
    if frames < 2 || !console.is_watched {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} frames, {eta} left")?;
    Ok(ProgressBar::new(frames as u64).with_style(style))
}
