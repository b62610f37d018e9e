//! `bevfusion detect`: frames in, tables, pictures and result files out.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::DetectArgs;
use super::frames::{Frames, Item, ground_truth};
use super::results::Results;
use super::{Answer, model, say};
use crate::engine::{CpuEngine, EngineOptions};
use crate::exec::{FrameOutcome, FrameReport, Pipeline, PipelineBuilder, StageId, explain};
use crate::output::{FrameResult, FrameView, detection_table};

/// Rows of a table.
const TABLE_ROWS: usize = 20;

/// Runs the command.
pub(super) fn run(args: &DetectArgs) -> Answer {
    let (config, weights) = model::with_weights(&args.model, &args.weights)?;
    let frames = Frames::open(args, &config)?;
    if frames.len() == 0 {
        return Err("there is no frame to detect in: the selection is empty".into());
    }
    let mut results = Results::create(args, &config, frames.forward())?;
    let engine = CpuEngine::new(EngineOptions {
        threads: args.threads,
    });
    let mut pipeline = PipelineBuilder::new(config, &weights);
    if let Some(least) = args.min_cameras {
        pipeline = pipeline.min_cameras(least);
    }
    let mut pipeline = pipeline.build(&engine)?;
    drop(weights);

    let bar = progress(frames.len())?;
    let mut tally = Tally::default();
    for index in 0..frames.len() {
        match frames.read(index, pipeline.config()) {
            Ok(item) => detect(args, &mut pipeline, &item, (&mut results, &mut tally), &bar)?,
            Err(error) if error.is_skip() => {
                tally.skipped += 1;
                bar.suspend(|| warn(&format!("skipped {}: {error}", frames.id(index))))?;
            }
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    results.finish()?;
    tally.finish(args)
}

/// How the frames of a run ended.
#[derive(Default)]
struct Tally {
    detected: usize,
    degraded: usize,
    skipped: usize,
    dropped: usize,
}

impl Tally {
    fn finish(&self, args: &DetectArgs) -> Answer {
        let Self {
            detected,
            degraded,
            skipped,
            dropped,
        } = self;
        let text = format!(
            "{detected} frames detected ({degraded} degraded), {skipped} skipped, {dropped} dropped; \
             results in {}",
            args.output.display()
        );
        if args.json {
            warn(&text)?
        } else {
            say(&text)?
        }
        if *detected == 0 {
            return Err("no frame could be detected in".into());
        }
        Ok(())
    }
}

fn detect(
    args: &DetectArgs,
    pipeline: &mut Pipeline,
    item: &Item,
    (results, tally): (&mut Results, &mut Tally),
    bar: &ProgressBar,
) -> Answer {
    let report = *pipeline.run(&item.frame);
    match report.outcome {
        FrameOutcome::Dropped(fault) => {
            tally.dropped += 1;
            let why = explain(pipeline.config(), pipeline.min_cameras(), &item.frame).join("; ");
            let why = if why.is_empty() {
                fault.to_string()
            } else {
                why
            };
            bar.suspend(|| warn(&format!("dropped {}: {why}", item.id)))?;
            return Ok(());
        }
        FrameOutcome::Degraded(lost) => {
            tally.degraded += 1;
            bar.suspend(|| warn(&format!("degraded {}: {lost}", item.id)))?;
        }
        FrameOutcome::Complete => {}
    }
    tally.detected += 1;
    let config = pipeline.config();
    let truth = ground_truth(item.truth.as_ref(), config);
    let model = (config.name.as_str(), config.class_names.as_slice());
    let view = FrameView::new(
        (&item.id, &item.frame),
        model,
        pipeline.detections(),
        &truth,
    );
    let result = FrameResult::new(&item.id, model, pipeline.detections(), timings(&report));
    results.write(&view, item, &result)?;
    bar.suspend(|| show(args, &view, &result, &report))
}

fn show(
    args: &DetectArgs,
    view: &FrameView<'_>,
    result: &FrameResult,
    report: &FrameReport,
) -> Answer {
    if args.json {
        return Ok(say(&serde_json::to_string(result)?)?);
    }
    let counts = report.counts;
    say(&format!(
        "{}: {} points, {} voxels, {} boxes in {:.2} s",
        view.frame_id,
        counts.points_in_range,
        counts.voxels,
        counts.detections,
        report.total_time().as_secs_f64()
    ))?;
    say(&detection_table(
        view.detections,
        view.class_names,
        args.min_score,
        TABLE_ROWS,
    ))?;
    Ok(())
}

fn timings(report: &FrameReport) -> BTreeMap<String, f64> {
    let times = StageId::ALL.iter().zip(report.stage_times);
    times
        .map(|(stage, time)| (stage.name().to_owned(), 1e3 * time.as_secs_f64()))
        .collect()
}

fn progress(frames: usize) -> Result<ProgressBar, Box<dyn Error>> {
    if frames < 2 || !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} frames, {eta} left")?;
    Ok(ProgressBar::new(frames as u64).with_style(style))
}

fn warn(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
}
