//! A frame slot: pinned staging, its graph and its events.

use std::time::Duration;

use bevfusion_kernels::cuda::frame::{CloudData, CloudHeader, FrameCounts, FrameHeader};
use bevfusion_kernels::cuda::postprocess_settings::read_output;
use bevfusion_kernels::driver::{DriverError, Event, Graph, PinnedSlice, Stream};

use super::pipeline::CudaOptions;
use super::program::LidarDetector;
use crate::exec::{Degradation, FaultCode, FrameFault, FrameOutcome, FrameReport, StageId};
use crate::head::{counts_of, detection_of};
use crate::output::Detection;

/// Stages that are timed, in order.
const TIMED: [StageId; 5] = [
    StageId::Voxelize,
    StageId::SparseEncoder,
    StageId::BevDecoder,
    StageId::Head,
    StageId::Postprocess,
];

/// What one frame needs of its own.
#[derive(Debug)]
pub(super) struct Slot {
    header: PinnedSlice<FrameHeader>,
    points: PinnedSlice<f32>,
    used: usize,
    output: PinnedSlice<u32>,
    counts: PinnedSlice<FrameCounts>,
    graph: Option<Graph>,
    done: Event,
    marks: Option<Marks>,
}

/// Events before the frame and behind each stage.
#[derive(Debug)]
struct Marks {
    start: Event,
    stages: [Event; TIMED.len()],
}

impl Slot {
    pub(super) fn new(
        stream: &Stream,
        detector: &LidarDetector,
        options: &CudaOptions,
        load_dim: usize,
    ) -> Result<Self, DriverError> {
        let context = stream.context();
        let event = || Event::timing(context);
        let marks = if options.timed {
            Some(Marks {
                start: event()?,
                stages: [event()?, event()?, event()?, event()?, event()?],
            })
        } else {
            None
        };
        let mut slot = Self {
            header: PinnedSlice::new(context, 1)?,
            points: PinnedSlice::new(context, options.point_capacity * load_dim)?,
            used: 0,
            output: PinnedSlice::new(context, detector.output().len())?,
            counts: PinnedSlice::new(context, 1)?,
            graph: None,
            done: Event::ordering(context)?,
            marks,
        };
        if options.graph {
            let graph = Graph::capture(stream, || slot.enqueue(stream, detector, true))?;
            graph.upload(stream)?;
            slot.graph = Some(graph);
        }
        Ok(slot)
    }

    pub(super) fn nodes(&self) -> usize {
        self.graph.as_ref().map_or(0, Graph::nodes)
    }

    /// Forgets the points of the last frame.
    pub(super) const fn clear(&mut self) {
        self.used = 0;
    }

    /// Copies a cloud into pinned memory, as far as there is room. The room is that of the device, which
    /// reads no point beyond it and counts those that it was promised.
    pub(super) fn stage(&mut self, values: &[f32], stride: usize) -> CloudData {
        let row = stride / size_of::<f32>();
        let room = self.points.len() - self.used;
        let copied = values.len().min(room / row * row);
        let first = self.used;
        self.points.as_mut_slice()[first..first + copied].copy_from_slice(&values[..copied]);
        self.used += copied;
        CloudData {
            address: self.points.device_address() + (first * size_of::<f32>()) as u64,
            points: values.len() / row,
        }
    }

    pub(super) fn launch(
        &mut self,
        stream: &Stream,
        detector: &LidarDetector,
        clouds: &[CloudHeader],
    ) -> Result<(), DriverError> {
        if let Some(header) = self.header.as_mut_slice().first_mut() {
            header.set(clouds)?;
        }
        match &self.graph {
            Some(graph) => graph.launch(stream)?,
            None => self.enqueue(stream, detector, false)?,
        }
        self.done.record(stream)
    }

    fn enqueue(
        &self,
        stream: &Stream,
        detector: &LidarDetector,
        captured: bool,
    ) -> Result<(), DriverError> {
        let record = |event: &Event| match captured {
            true => event.record_in_graph(stream),
            false => event.record(stream),
        };
        if let Some(marks) = &self.marks {
            record(&marks.start)?;
        }
        let mut next = 0;
        detector.enqueue(stream, &self.header, |_stage| {
            let event = self.marks.as_ref().and_then(|marks| marks.stages.get(next));
            next += 1;
            event.map_or(Ok(()), record)
        })?;
        self.output.copy_from_device(stream, detector.output())?;
        let counts = &detector.lidar().voxelize().buffers().counts;
        self.counts.copy_from_device(stream, counts)
    }

    pub(super) fn is_done(&self) -> Result<bool, DriverError> {
        self.done.has_happened()
    }

    pub(super) const fn output(&self) -> &[u32] {
        self.output.as_slice()
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.counts.as_slice().first().copied().unwrap_or_default()
    }

    /// Times of the stages, where they were taken.
    pub(super) fn read_times(&self, times: &mut [Duration; StageId::COUNT]) {
        let Some(marks) = &self.marks else { return };
        let mut earlier = &marks.start;
        for (stage, event) in TIMED.into_iter().zip(&marks.stages) {
            let elapsed = event.milliseconds_since(earlier).unwrap_or(0.0).max(0.0);
            times[stage as usize] = Duration::from_secs_f64(f64::from(elapsed) * 1e-3);
            earlier = event;
        }
    }
}

/// Boxes and report of a frame from what the device left in pinned memory.
pub(super) fn read_frame(
    words: &[u32],
    counts: FrameCounts,
    detections: &mut Vec<Detection>,
) -> FrameReport {
    let mut report = FrameReport::new();
    detections.clear();
    let Some((found, records)) = read_output(words) else {
        report.outcome = FrameOutcome::Dropped(FrameFault {
            code: FaultCode::Device,
            stage: StageId::Postprocess,
            detail: 0,
        });
        return report;
    };
    detections.extend(records.iter().map(detection_of));
    let found = counts_of(&found);
    let refused = found.invalid_label + found.non_finite + found.out_of_range;
    report.counts.points_in = counts.input.into();
    report.counts.points_in_range = counts.gathered().into();
    report.counts.voxels = counts.rows[0].into();
    report.counts.decoded = found.proposals.saturating_sub(refused) as u64;
    report.counts.detections = detections.len() as u64;
    let degradation = Degradation {
        missing_cameras: 0,
        dropped_voxels: counts.dropped_cells.into(),
        non_finite_points: counts.non_finite.into(),
        clipped_points: counts.clipped.into(),
        lost_sites: (1..counts.rows.len())
            .map(|level| u64::from(counts.lost_sites(level)))
            .sum(),
        empty_cloud: counts.gathered() == 0,
    };
    report.outcome = if degradation.any() {
        FrameOutcome::Degraded(degradation)
    } else {
        FrameOutcome::Complete
    };
    report
}

#[cfg(test)]
mod tests {
    use bevfusion_kernels::cuda::frame::FrameCounts;
    use bytemuck::Zeroable;

    use super::read_frame;
    use crate::exec::{FaultCode, FrameOutcome};

    /// The kernel's counts, of which the last but one is the number of boxes.
    fn output(kept: u32, words: usize) -> Vec<u32> {
        let mut output = vec![0; 12 + words];
        output[10] = kept;
        output
    }

    fn counts(change: impl FnOnce(&mut FrameCounts)) -> FrameCounts {
        let mut counts = FrameCounts::zeroed();
        (counts.input, counts.points) = (9, 9);
        change(&mut counts);
        counts
    }

    #[test]
    fn boxes_and_counts_are_those_of_the_device() {
        let mut words = output(1, 2 * 11);
        words[12] = 3.5_f32.to_bits();
        words[12 + 10] = 7;
        let mut boxes = Vec::new();
        let report = read_frame(&words, counts(|c| c.rows[0] = 5), &mut boxes);
        assert_eq!(report.outcome, FrameOutcome::Complete);
        assert_eq!((report.counts.voxels, report.counts.detections), (5, 1));
        assert_eq!(boxes[0].label, 7);
        assert!((boxes[0].bottom_center[0] - 3.5).abs() < 1e-6);
    }

    #[test]
    fn what_a_frame_lost_is_in_its_outcome() {
        let lost = |change: fn(&mut FrameCounts)| {
            let outcome = read_frame(&output(0, 0), counts(change), &mut Vec::new()).outcome;
            match outcome {
                FrameOutcome::Degraded(lost) => lost,
                other => panic!("expected a degraded frame, found {other:?}"),
            }
        };
        assert_eq!(lost(|c| c.clipped = 4).clipped_points, 4);
        assert_eq!(lost(|c| c.dropped_cells = 3).dropped_voxels, 3);
        assert_eq!(lost(|c| c.non_finite = 2).non_finite_points, 2);
        assert_eq!(lost(|c| (c.sites[2], c.rows[2]) = (8, 6)).lost_sites, 2);
        assert!(lost(|c| c.out_of_range = 9).empty_cloud);
    }

    #[test]
    fn a_count_beyond_the_boxes_drops_the_frame() {
        let outcome = read_frame(&output(2, 11), counts(|_| ()), &mut Vec::new()).outcome;
        let FrameOutcome::Dropped(fault) = outcome else {
            panic!("expected a dropped frame, found {outcome:?}");
        };
        assert_eq!(fault.code, FaultCode::Device);
    }
}
