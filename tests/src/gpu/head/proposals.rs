//! Top-k of the heatmap against a sort: random, tied, equal, empty and broken inputs, both border rules.

use std::error::Error;
use std::sync::Arc;

use bevfusion_kernels::cuda::proposals::{ProposalConfig, Proposals};
use bevfusion_kernels::driver::{Context, DeviceArena, Priority, Stream};

use super::Scope;
use super::fixture::{bits, uniform};
use crate::report::{Report, Tolerance};

/// What the logits look like.
#[derive(Clone, Copy, Debug)]
enum Fill {
    /// Multiples of 1/64: many ties, all others well apart.
    Steps,
    /// All different.
    Smooth,
    /// One value.
    Equal,
    /// Scores of exactly 0.
    Zero,
    /// Steps with NaN and infinities among them.
    Broken,
    /// NaN only.
    Nan,
}

struct Case {
    fill: Fill,
    size: [usize; 2],
    classes: usize,
    proposals: usize,
    window: usize,
    keep_border: bool,
}

const fn case(fill: Fill, size: [usize; 2], classes: usize, proposals: usize) -> Case {
    Case {
        fill,
        size,
        classes,
        proposals,
        window: 3,
        keep_border: false,
    }
}

fn cases(scope: Scope) -> Vec<Case> {
    let kept = |case: Case, window: usize| Case {
        window,
        keep_border: true,
        ..case
    };
    let small = [
        case(Fill::Steps, [40, 32], 10, 24),
        kept(case(Fill::Steps, [40, 32], 10, 24), 3),
        kept(case(Fill::Broken, [37, 53], 5, 500), 5),
        case(Fill::Broken, [37, 53], 16, 200),
        case(Fill::Nan, [9, 7], 2, 20),
        case(Fill::Zero, [20, 30], 3, 50),
        case(Fill::Equal, [40, 32], 10, 200),
        case(Fill::Steps, [3, 5], 1, 15),
    ];
    let large = [
        case(Fill::Steps, [180, 180], 10, 200),
        case(Fill::Smooth, [180, 180], 10, 500),
        kept(case(Fill::Smooth, [180, 180], 10, 200), 3),
        kept(case(Fill::Smooth, [100, 180], 10, 1024), 7),
        case(Fill::Equal, [180, 180], 10, 500),
        case(Fill::Zero, [180, 180], 10, 200),
        case(Fill::Broken, [128, 200], 7, 1024),
    ];
    match scope {
        Scope::Full => small.into_iter().chain(large).collect(),
        Scope::Quick => small.into(),
    }
}

pub(super) fn run(
    context: &Arc<Context>,
    scope: Scope,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    for case in cases(scope) {
        compare(context, &case, report)?;
    }
    Ok(())
}

fn compare(context: &Arc<Context>, case: &Case, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let logits = case.logits();
    let config = case.config();
    let arena = DeviceArena::new(context);
    let stream = Stream::new(context, Priority::Normal)?;
    let device = arena.take_with("logits", &logits)?;
    let proposals = Proposals::new(context, &arena, &config, &device)?;
    proposals.enqueue(&stream)?;
    let read = || -> Result<_, Box<dyn Error>> {
        Ok((
            proposals.index().download()?,
            proposals.label().download()?,
            proposals.score().download()?,
        ))
    };
    let (index, label, score) = read()?;
    proposals.enqueue(&stream)?;
    let again = read()?;
    let [rows, columns] = case.size;
    let name = format!(
        "gpu topk {:?} {rows}x{columns}x{} P={} w={} {}",
        case.fill,
        case.classes,
        case.proposals,
        case.window,
        if case.keep_border { "keep" } else { "suppress" }
    );
    let want = case.sorted(&logits);
    let integers = |values: &[i32]| values.iter().map(|v| i64::from(*v)).collect::<Vec<_>>();
    let cells = (rows * columns) as i64;
    let wanted: Vec<i64> = want.iter().map(|(index, _)| *index as i64).collect();
    let classes: Vec<i64> = wanted.iter().map(|index| index / cells).collect();
    report.integers(format!("{name} index"), &integers(&index), &wanted);
    report.integers(format!("{name} class"), &integers(&label), &classes);
    let scores: Vec<f32> = want.iter().map(|(_, score)| *score).collect();
    report.floats(
        format!("{name} score"),
        &score,
        &scores,
        Tolerance::Absolute(5e-7),
    );
    let same = again.0 == index && again.1 == label && bits(&again.2) == bits(&score);
    report.integers(format!("{name} repeats"), &[i64::from(same)], &[1]);
    Ok(())
}

impl Case {
    fn config(&self) -> ProposalConfig {
        ProposalConfig {
            size: self.size,
            stride: 16,
            // The last two classes keep every cell, as in the nuScenes model.
            pooled: (0..self.classes)
                .map(|class| class + 2 < self.classes.max(3))
                .collect(),
            window: self.window,
            keep_border: self.keep_border,
            proposals: self.proposals,
        }
    }

    fn logits(&self) -> Vec<f32> {
        let count = self.size[0] * self.size[1] * 16;
        let steps = |i: usize| (uniform(11, i, [-6.0, 2.0]) * 64.0).round() / 64.0;
        let value = |i: usize| match self.fill {
            Fill::Steps => steps(i),
            Fill::Smooth => uniform(12, i, [-6.0, 2.0]),
            Fill::Equal => -2.19,
            Fill::Zero => -200.0,
            Fill::Broken => match i % 97 {
                13 => f32::NAN,
                29 => f32::INFINITY,
                31 => f32::NEG_INFINITY,
                _ => steps(i),
            },
            Fill::Nan => f32::NAN,
        };
        (0..count).map(value).collect()
    }

    /// Flat indices and scores, best first; a NaN comes last and exceeds nothing.
    fn sorted(&self, logits: &[f32]) -> Vec<(usize, f32)> {
        let cells = self.size[0] * self.size[1];
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let scores: Vec<f32> = logits.iter().map(|x| sigmoid(*x)).collect();
        let pooled = self.config().pooled;
        let mut all: Vec<(usize, f32)> = (0..self.classes * cells)
            .map(|flat| {
                let (class, cell) = (flat / cells, flat % cells);
                let own = scores[cell * 16 + class];
                let goes = pooled[class] && !own.is_nan() && !self.is_largest(&scores, class, cell);
                (flat, if goes { 0.0 } else { own })
            })
            .collect();
        let order = |score: f32| if score.is_nan() { -1.0 } else { score };
        all.sort_by(|a, b| order(b.1).total_cmp(&order(a.1)));
        all.truncate(self.proposals);
        all
    }

    fn is_largest(&self, scores: &[f32], class: usize, cell: usize) -> bool {
        let [rows, columns] = self.size.map(|extent| extent as i64);
        let (x, y) = (cell as i64 / columns, cell as i64 % columns);
        let ring = (self.window / 2) as i64;
        let own = scores[cell * 16 + class];
        let mut window =
            (x - ring..=x + ring).flat_map(|x| (y - ring..=y + ring).map(move |y| (x, y)));
        window.all(|(x, y)| {
            let inside = x >= 0 && y >= 0 && x < rows && y < columns;
            let exceeds = || scores[(x * columns + y) as usize * 16 + class] > own;
            if inside { !exceeds() } else { self.keep_border }
        })
    }
}
