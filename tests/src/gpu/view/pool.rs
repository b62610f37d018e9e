//! The pooling against the twin: all cells, again with the same bits, with sets that change and cameras that
//! are away.

use bevfusion_kernels::cuda::bev_pool::BevPool;
use bevfusion_kernels::cuda::dense_conv::MapSlice;
use bevfusion_kernels::cuda::depth_image::ViewFrame;
use bevfusion_kernels::cuda::depth_softmax::LiftedFeatures;
use bevfusion_kernels::cuda::view_tables::ViewTables;
use bevfusion_kernels::driver::{DeviceArena, DeviceSlice, DriverError, Graph, Stream};
use bevfusion_kernels::reference::bev_pool::{BevPool as Twin, LiftShape};
use bevfusion_kernels::reference::pool_table::PoolTable;
use half::f16;

use super::super::random::Random;
use super::cases::{Case, all};
use super::rig::Rig;
use super::softmax::{frame, settings};
use crate::report::{Report, Tolerance};

/// First channel of the pooled slice, and channels after it.
const AROUND: usize = 8;

pub(super) fn run(stream: &Stream, quick: bool, report: &mut Report) -> Result<(), DriverError> {
    for (number, case) in all(quick).iter().enumerate() {
        let channels = if number > 4 {
            80
        } else {
            [80, 24, 72, 160, 8][number]
        };
        compare(stream, case, channels, report)?;
    }
    Ok(())
}

/// Features on the host, as floats and in the layouts of both sides.
struct Values {
    channels: usize,
    /// `[N, D, h, w]`.
    probability: Vec<f32>,
    /// `[N, C, h, w]`.
    context: Vec<f32>,
}

impl Values {
    fn random(case: &Case, channels: usize) -> Self {
        let shape = case.config.shape();
        let pixels = shape.columns() * shape.feature_size[0];
        let mut random = Random::new(29);
        let mut values = Self {
            channels,
            probability: random.values(shape.points(), 0.1),
            context: random.values(pixels * channels, 1.0),
        };
        for value in &mut values.probability {
            *value = f16::from_f32(value.abs()).to_f32();
        }
        for value in &mut values.context {
            *value = f16::from_f32(*value).to_f32();
        }
        values
    }

    /// The same without one camera.
    fn without(&self, case: &Case, camera: usize) -> Self {
        let mut values = Self {
            channels: self.channels,
            probability: self.probability.clone(),
            context: self.context.clone(),
        };
        for part in [&mut values.probability, &mut values.context] {
            let own = part.len() / case.config.cameras;
            part[camera * own..][..own].fill(0.0);
        }
        values
    }

    /// Puts them where the kernel reads them.
    fn upload(&self, case: &Case, lifted: &LiftedFeatures) -> Result<(), DriverError> {
        let depths = case.config.frustum.depths;
        lifted
            .probability
            .upload(&by_column(case, &self.probability, depths))?;
        lifted
            .context
            .upload(&by_column(case, &self.context, self.channels))
    }

    /// `[X·Y][pitch]` as the twin sums them.
    fn want(&self, case: &Case, rig: &Rig) -> Vec<f32> {
        let (grid, shape) = (&case.config.grid, case.config.shape());
        let mut table = PoolTable::default();
        table.build(&case.cells(rig), grid);
        let lift = LiftShape {
            cameras: shape.cameras,
            depths: shape.depths,
            pixels: shape.feature_size[0] * shape.feature_size[1],
            channels: self.channels,
        };
        let mut sums = Vec::new();
        Twin::default().run(
            &table,
            grid,
            lift,
            (&self.probability, &self.context),
            &mut sums,
        );
        let cells = grid.count[0] * grid.count[1];
        let pitch = pitch(case, self.channels);
        let mut out = vec![0.0; cells * pitch];
        for (channel, plane) in sums.chunks_exact(cells).enumerate() {
            for (cell, value) in plane.iter().enumerate() {
                out[cell * pitch + AROUND + channel] = *value;
            }
        }
        out
    }
}

/// `[N][lines][h][w]` to fp16 `[N · w][lines][rows]`.
fn by_column(case: &Case, values: &[f32], lines: usize) -> Vec<u16> {
    let shape = case.config.shape();
    let [height, width] = shape.feature_size;
    let rows = shape.padded_rows();
    let mut out = vec![0; shape.columns() * lines * rows];
    for (place, value) in values.iter().enumerate() {
        let (u, v) = (place % width, place / width % height);
        let line = place / width / height;
        let column = line / lines * width + u;
        out[(column * lines + line % lines) * rows + v] = f16::from_f32(*value).to_bits();
    }
    out
}

fn pitch(case: &Case, channels: usize) -> usize {
    channels * case.config.grid.count[2] + 2 * AROUND
}

/// Everything on the device.
struct Device {
    lifted: LiftedFeatures,
    frame: DeviceSlice<ViewFrame>,
    map: DeviceSlice<u16>,
    graph: Graph,
    _pool: BevPool,
    _tables: ViewTables,
}

impl Device {
    /// With both rigs as its sets.
    fn new(
        stream: &Stream,
        case: &Case,
        channels: usize,
        rigs: &[Rig; 2],
    ) -> Result<Self, DriverError> {
        let context = stream.context();
        let arena = DeviceArena::new(context);
        let tables = ViewTables::new(context, &arena, &case.config)?;
        for (set, rig) in rigs.iter().enumerate() {
            let record = rig.pinned(context)?;
            tables.build(stream, set, &record)?;
            stream.synchronize()?;
        }
        let shape = case.config.shape();
        let lifted = LiftedFeatures {
            shape,
            channels,
            probability: arena.take_zeroed("probability", shape.probability_len())?,
            context: arena.take_zeroed("context", shape.context_len(channels))?,
        };
        let frame = frame(&arena, u32::MAX, 0)?;
        let grid = case.config.grid.count;
        let map = arena.take_zeroed("map", grid[0] * grid[1] * pitch(case, channels))?;
        let out = MapSlice {
            data: map.clone(),
            pitch: pitch(case, channels),
            channel: AROUND,
        };
        let pool = BevPool::new(context, &arena, &tables, (&lifted, &frame), &out)?;
        let graph = Graph::capture(stream, || pool.enqueue(stream))?;
        Ok(Self {
            lifted,
            frame,
            map,
            graph,
            _pool: pool,
            _tables: tables,
        })
    }

    fn pooled(&self, stream: &Stream, set: u32) -> Result<Vec<u16>, DriverError> {
        self.frame.upload(&[settings(u32::MAX, set)])?;
        self.graph.launch(stream)?;
        stream.synchronize()?;
        self.map.download()
    }
}

fn compare(
    stream: &Stream,
    case: &Case,
    channels: usize,
    report: &mut Report,
) -> Result<(), DriverError> {
    let rigs = [case.rig(), case.other_rig()];
    let device = Device::new(stream, case, channels, &rigs)?;
    let values = Values::random(case, channels);
    values.upload(case, &device.lifted)?;
    let mut all = Vec::new();
    for (frame, set) in [0, 0, 1, 0, 1, 1].into_iter().enumerate() {
        let got = device.pooled(stream, set)?;
        let want = values.want(case, &rigs[set as usize]);
        let name = format!("gpu pool {} C {channels} f{frame} set {set}", case.name);
        near(&name, &got, &want, report);
        all.push(got);
    }
    let same = [(0, 1), (0, 3), (2, 4), (2, 5)].map(|(a, b)| i64::from(all[a] == all[b]));
    let name = format!("gpu pool {} C {channels} repeats", case.name);
    report.integers(name, &same, &[1; 4]);
    absent(stream, case, &device, (&values, &rigs[0], &all[0]), report)
}

/// Without the second camera: right, and cells that it does not see keep their bits.
fn absent(
    stream: &Stream,
    case: &Case,
    device: &Device,
    (values, rig, whole): (&Values, &Rig, &[u16]),
    report: &mut Report,
) -> Result<(), DriverError> {
    let fewer = values.without(case, 1);
    fewer.upload(case, &device.lifted)?;
    let got = device.pooled(stream, 0)?;
    let name = format!("gpu pool {} without a camera", case.name);
    near(&name, &got, &fewer.want(case, rig), report);
    let grid = &case.config.grid;
    let cells = case.cells(rig);
    let own = cells.len() / case.config.cameras;
    let mut seen = vec![false; grid.cells()];
    for rank in cells[own..2 * own]
        .iter()
        .filter_map(|cell| grid.rank(*cell))
    {
        seen[rank] = true;
    }
    let (levels, pitch) = (grid.count[2], pitch(case, values.channels));
    let mut changed = 0;
    for rank in (0..grid.cells()).filter(|rank| !seen[*rank]) {
        let first = rank / levels * pitch + AROUND + rank % levels * values.channels;
        let span = first..first + values.channels;
        changed += i64::from(got[span.clone()] != whole[span]);
    }
    report.integers(format!("{name}: other cells"), &[changed], &[0]);
    Ok(())
}

fn near(name: &str, got: &[u16], want: &[f32], report: &mut Report) {
    let got: Vec<f32> = got
        .iter()
        .map(|bits| f16::from_bits(*bits).to_f32())
        .collect();
    report.floats(name, &got, want, Tolerance::OfMaximum(2e-3));
    report.floats(
        format!("{name} norm"),
        &got,
        want,
        Tolerance::RelativeL2(1e-3),
    );
}
