//! Depth images against the twin, bit for bit.

use bevfusion_kernels::cuda::depth_image::{DepthImage, DepthImageConfig, PointSource};
use bevfusion_kernels::cuda::frame::{FrameCounts, FrameHeader, NO_CELL, NO_POINT};
use bevfusion_kernels::cuda::view_tables::ViewTables;
use bevfusion_kernels::driver::{DeviceArena, DriverError, Graph, PinnedSlice, Stream};
use bevfusion_kernels::reference::depth_image::{
    BehindCamera, DepthImageParams, DepthWinner, depth_image_by,
};
use bytemuck::Zeroable;

use super::super::random::Random;
use super::cases::{Case, all};
use super::rig::Rig;
use crate::report::Report;

const COLUMNS: usize = 5;

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    for case in all(quick) {
        let points = if quick { 1500 } else { 60_000 };
        for behind_camera in [BehindCamera::Keep, BehindCamera::Drop] {
            for winner in [DepthWinner::Last, DepthWinner::Nearest] {
                let config = DepthImageConfig {
                    behind_camera,
                    winner,
                };
                compare(stream, &case, points, config, report)?;
            }
        }
    }
    Ok(())
}

/// Points and their cells.
#[derive(Debug)]
pub(super) struct Points {
    pub(super) rows: Vec<f32>,
    pub(super) cell: Vec<u32>,
}

impl Points {
    /// Around the vehicle, some of them dropped, some no numbers.
    pub(super) fn random(count: usize) -> Self {
        let mut random = Random::new(11);
        let mut points = Self {
            rows: Vec::with_capacity(count * COLUMNS),
            cell: Vec::with_capacity(count),
        };
        for index in 0..count {
            // Many near, so that points meet on pixels.
            let reach = if index % 3 == 0 { 5.0 } else { 54.0 };
            let mut row = [
                random.signed() * reach,
                random.signed() * reach,
                0.0,
                0.5,
                0.1,
            ];
            row[2] = random.signed() * 3.0;
            match index % 97 {
                5 => row[0] = f32::NAN,
                6 => row[2] = f32::INFINITY,
                7 => row = [0.0; COLUMNS],
                _ => {}
            }
            points.rows.extend(row);
            points.cell.push(match index % 10 {
                3 => NO_POINT,
                4 => NO_CELL,
                _ => index as u32,
            });
        }
        points
    }

    pub(super) fn source(
        &self,
        arena: &DeviceArena,
        used: usize,
    ) -> Result<PointSource, DriverError> {
        let mut counts = FrameCounts::zeroed();
        counts.points = used as u32;
        Ok(PointSource {
            points: arena.take_with("points", &self.rows)?,
            columns: COLUMNS,
            cell: arena.take_with("cells", &self.cell)?,
            counts: arena.take_with("counts", &[counts])?,
        })
    }

    /// Rows of the first `used` points that were not dropped.
    fn kept(&self, used: usize) -> Vec<f32> {
        let rows = self.rows.chunks_exact(COLUMNS).zip(&self.cell).take(used);
        rows.filter(|(_, cell)| **cell != NO_POINT)
            .flat_map(|(row, _)| row.iter().copied())
            .collect()
    }
}

/// The header of a frame with these cameras and this table set.
pub(super) fn header(
    stream: &Stream,
    active: u32,
    set: u32,
) -> Result<PinnedSlice<FrameHeader>, DriverError> {
    let mut header = PinnedSlice::<FrameHeader>::new(stream.context(), 1)?;
    if let Some(header) = header.as_mut_slice().first_mut() {
        header.set_view(active, set);
    }
    Ok(header)
}

/// All points from set 0, fewer from set 1 with a camera less, then none.
fn compare(
    stream: &Stream,
    case: &Case,
    count: usize,
    config: DepthImageConfig,
    report: &mut Report,
) -> Result<(), DriverError> {
    let context = stream.context();
    let arena = DeviceArena::new(context);
    let tables = ViewTables::new(context, &arena, &case.config)?;
    let rigs = [case.rig(), case.other_rig()];
    let records = [rigs[0].pinned(context)?, rigs[1].pinned(context)?];
    for (set, record) in records.iter().enumerate() {
        tables.build(stream, set, record)?;
    }
    let points = Points::random(count);
    let source = points.source(&arena, count)?;
    let image = DepthImage::new(context, &arena, &tables, &source, &config)?;
    let mut header = header(stream, 0, 0)?;
    let graph = Graph::capture(stream, || {
        image.enqueue_begin(stream, &header)?;
        image.enqueue(stream)
    })?;
    let every = (1_u32 << case.config.cameras) - 1;
    for (frame, (used, active, set)) in
        [(count, every, 0), (count - 7, every & !2, 1), (0, every, 0)]
            .into_iter()
            .enumerate()
    {
        let mut counts = FrameCounts::zeroed();
        counts.points = used as u32;
        source.counts.upload(&[counts])?;
        if let Some(header) = header.as_mut_slice().first_mut() {
            header.set_view(active, set);
        }
        let mut got = Vec::new();
        for _ in 0..2 {
            graph.launch(stream)?;
            stream.synchronize()?;
            got.push(image.map().download()?);
        }
        let want = twin(
            case,
            &rigs[set as usize],
            &points.kept(used),
            active,
            config,
        );
        let low = got[0]
            .iter()
            .take(want.len())
            .map(|word| i64::from(*word as u32));
        let name = format!("gpu depth image {} {config:?} f{frame}", case.name);
        report.integers(&name, &low.collect::<Vec<_>>(), &want);
        report.integers(
            format!("{name} repeats"),
            &[i64::from(got[0] == got[1])],
            &[1],
        );
    }
    Ok(())
}

/// Bits of the depths.
fn twin(case: &Case, rig: &Rig, points: &[f32], active: u32, config: DepthImageConfig) -> Vec<i64> {
    let image_size = case.config.frustum.image_size;
    let params = DepthImageParams {
        image_size,
        behind_camera: config.behind_camera,
        undo_augmentation: rig.undo,
    };
    let pixels = image_size[0] * image_size[1];
    let mut out = vec![0.0; case.config.cameras * pixels];
    depth_image_by(
        config.winner,
        (points, COLUMNS),
        &rig.depth,
        &params,
        &mut out,
    );
    for (camera, image) in out.chunks_exact_mut(pixels).enumerate() {
        if active >> camera & 1 == 0 {
            image.fill(0.0);
        }
    }
    out.iter().map(|depth| i64::from(depth.to_bits())).collect()
}
