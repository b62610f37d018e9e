//! A frame slot: pinned staging, its graph and its events.

use std::sync::Arc;

use bevfusion_kernels::cuda::frame::{CloudData, CloudHeader, FrameCounts, FrameHeader};
use bevfusion_kernels::cuda::postprocess_settings::read_output;
use bevfusion_kernels::driver::{Context, DriverError, Event, Graph, PinnedSlice, Stream};

use super::images::FrameCameras;
use super::pipeline::CudaOptions;
use super::program::{Detector, Moment, Streams};
use crate::exec::{
    CameraStates, Degradation, FaultCode, FrameFault, FrameOutcome, FrameReport, StageId,
};
use crate::head::{counts_of, detection_of};
use crate::output::Detection;

/// What one frame needs of its own.
#[derive(Debug)]
pub(super) struct Slot {
    header: PinnedSlice<FrameHeader>,
    points: PinnedSlice<f32>,
    used: usize,
    output: PinnedSlice<u32>,
    counts: PinnedSlice<FrameCounts>,
    cameras: CameraStates,
    is_lidar_only: bool,
    graph: Option<Graph>,
    done: Event,
    marks: Option<Marks>,
}

/// Events at the beginning of the frame and at both ends of each stage.
#[derive(Debug)]
struct Marks {
    start: Event,
    begin: [Event; StageId::COUNT],
    end: [Event; StageId::COUNT],
    ran: [bool; StageId::COUNT],
}

impl Marks {
    fn new(context: &Arc<Context>) -> Result<Self, DriverError> {
        let events = || {
            let events = (0..StageId::COUNT).map(|_| Event::timing(context));
            let events = events.collect::<Result<Vec<_>, _>>()?;
            events.try_into().map_err(|_count| DriverError::Arguments {
                kernel: "marks",
                problem: "an event per stage".to_owned(),
            })
        };
        Ok(Self {
            start: Event::timing(context)?,
            begin: events()?,
            end: events()?,
            ran: [false; StageId::COUNT],
        })
    }
}

/// When a stage ran (µs after the beginning of its frame).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageSpan {
    /// Which.
    pub stage: StageId,
    /// Its first kernel could start.
    pub begin_us: f32,
    /// Its last kernel had ended.
    pub end_us: f32,
}

impl Slot {
    pub(super) fn new(
        streams: &Streams,
        detector: &Detector,
        options: &CudaOptions,
        load_dim: usize,
    ) -> Result<Self, DriverError> {
        let context = streams.main.context();
        let marks = options.timed.then(|| Marks::new(context)).transpose()?;
        let mut slot = Self {
            header: PinnedSlice::new(context, 1)?,
            points: PinnedSlice::new(context, options.point_capacity * load_dim)?,
            used: 0,
            output: PinnedSlice::new(context, detector.output().len())?,
            counts: PinnedSlice::new(context, 1)?,
            cameras: CameraStates::default(),
            is_lidar_only: false,
            graph: None,
            done: Event::ordering(context)?,
            marks,
        };
        if options.graph {
            let mut ran = [false; StageId::COUNT];
            let graph = Graph::capture(&streams.main, || {
                slot.enqueue(streams, detector, true, &mut ran)
            })?;
            graph.upload(&streams.main)?;
            slot.graph = Some(graph);
            if let Some(marks) = &mut slot.marks {
                marks.ran = ran;
            }
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
        streams: &Streams,
        detector: &Detector,
        clouds: &[CloudHeader],
        cameras: FrameCameras,
        is_lidar_only: bool,
    ) -> Result<(), DriverError> {
        (self.cameras, self.is_lidar_only) = (cameras.states, is_lidar_only);
        let bits = if is_lidar_only {
            0
        } else {
            cameras.states.bits()
        };
        if let Some(header) = self.header.as_mut_slice().first_mut() {
            header.set(clouds)?;
            header.set_view(bits, cameras.set);
        }
        match &self.graph {
            Some(graph) => graph.launch(&streams.main)?,
            None => {
                let mut ran = [false; StageId::COUNT];
                self.enqueue(streams, detector, false, &mut ran)?;
                if let Some(marks) = &mut self.marks {
                    marks.ran = ran;
                }
            }
        }
        self.done.record(&streams.main)
    }

    fn enqueue(
        &self,
        streams: &Streams,
        detector: &Detector,
        captured: bool,
        ran: &mut [bool; StageId::COUNT],
    ) -> Result<(), DriverError> {
        let record = |event: &Event, stream: &Stream| match captured {
            true => event.record_in_graph(stream),
            false => event.record(stream),
        };
        let main = &streams.main;
        if let Some(marks) = &self.marks {
            record(&marks.start, main)?;
        }
        detector.enqueue(streams, &self.header, &mut |stage, moment, stream| {
            let Some(marks) = &self.marks else {
                return Ok(());
            };
            ran[stage as usize] = true;
            let events = match moment {
                Moment::Begin => &marks.begin,
                Moment::End => &marks.end,
            };
            record(&events[stage as usize], stream)
        })?;
        self.output.copy_from_device(main, detector.output())?;
        let counts = &detector.sweep().buffers().counts;
        self.counts.copy_from_device(main, counts)
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

    /// States of the cameras of the frame, and whether it was run without them.
    pub(super) const fn cameras(&self) -> (CameraStates, bool) {
        (self.cameras, self.is_lidar_only)
    }

    /// When the stages ran, where that was taken.
    pub(super) fn read_spans(&self, spans: &mut Vec<StageSpan>) {
        spans.clear();
        let Some(marks) = &self.marks else { return };
        for stage in StageId::ALL {
            let at = stage as usize;
            if !marks.ran[at] {
                continue;
            }
            let since = |event: &Event| event.milliseconds_since(&marks.start);
            if let (Ok(begin), Ok(end)) = (since(&marks.begin[at]), since(&marks.end[at])) {
                spans.push(StageSpan {
                    stage,
                    begin_us: begin * 1e3,
                    end_us: end * 1e3,
                });
            }
        }
    }
}

/// Boxes and report of a frame from what the device left in pinned memory.
pub(super) fn read_frame(
    words: &[u32],
    counts: FrameCounts,
    (cameras, is_lidar_only): (CameraStates, bool),
    detections: &mut Vec<Detection>,
) -> FrameReport {
    let mut report = FrameReport::new();
    report.cameras = cameras;
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
        missing_cameras: (cameras.as_slice().len() - cameras.fresh()) as u32,
        lidar_only: is_lidar_only,
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
    use crate::exec::{CameraStates, FaultCode, FrameOutcome};

    const NO_CAMERAS: (CameraStates, bool) = (CameraStates::missing(0), false);

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
        let report = read_frame(&words, counts(|c| c.rows[0] = 5), NO_CAMERAS, &mut boxes);
        assert_eq!(report.outcome, FrameOutcome::Complete);
        assert_eq!((report.counts.voxels, report.counts.detections), (5, 1));
        assert_eq!(boxes[0].label, 7);
        assert!((boxes[0].bottom_center[0] - 3.5).abs() < 1e-6);
    }

    #[test]
    fn what_a_frame_lost_is_in_its_outcome() {
        let lost = |change: fn(&mut FrameCounts)| {
            let outcome =
                read_frame(&output(0, 0), counts(change), NO_CAMERAS, &mut Vec::new()).outcome;
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
        let outcome =
            read_frame(&output(2, 11), counts(|_| ()), NO_CAMERAS, &mut Vec::new()).outcome;
        let FrameOutcome::Dropped(fault) = outcome else {
            panic!("expected a dropped frame, found {outcome:?}");
        };
        assert_eq!(fault.code, FaultCode::Device);
    }
}
