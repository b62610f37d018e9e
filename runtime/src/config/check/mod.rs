//! The meaning of a model description: what must fit what.
//!
//! In: a description of the right form, with its derived sizes. Out: every contradiction, with the
//! keys that it was concluded from, so that one drawn from a placeholder can be left out.

mod camera;
mod encoder;
mod grid;
mod head;
mod postprocess;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::derived::Shapes;
use super::error::{ConfigProblem, listed};
use super::model::ModelSpec;

/// Deviation from a whole number of cells that is rounding of the file's decimals.
const CELL_TOLERANCE: f64 = 1e-3;

/// Layers of one part of a network; the deepest stage of a large Swin has 18.
const MOST_LAYERS: usize = 1000;
/// Unknown class names for which the nearest known one is looked up.
const MOST_GUESSES: usize = 20;

/// A problem and the keys that it follows from.
pub(super) struct Finding {
    pub(super) problem: ConfigProblem,
    pub(super) reads: &'static [&'static str],
}

/// Every contradiction in `spec`.
pub(super) fn findings(spec: &ModelSpec, shapes: &Shapes) -> Vec<Finding> {
    let mut checker = Checker {
        spec,
        shapes,
        findings: Vec::new(),
    };
    checker.branches();
    checker.grid();
    checker.points();
    checker.encoder();
    checker.camera();
    checker.bev_decoder();
    checker.head();
    checker.postprocess();
    checker.findings
}

struct Checker<'a> {
    spec: &'a ModelSpec,
    shapes: &'a Shapes,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    /// Records a problem that `problem.key` and `reads` together show.
    fn fail(&mut self, reads: &'static [&'static str], problem: ConfigProblem) {
        self.findings.push(Finding { problem, reads });
    }

    fn positive(&mut self, key: &str, value: usize) {
        if value == 0 {
            self.fail(
                &[],
                ConfigProblem::new(key, "at least 1", "0", "write a positive whole number"),
            );
        }
    }

    fn all_positive(&mut self, key: &str, values: &[usize]) {
        for (i, value) in values.iter().enumerate() {
            self.positive(&format!("{key}[{i}]"), *value);
        }
    }

    /// Not more layers in all than a network has that can be run.
    fn layers(&mut self, key: &str, counts: &[usize]) {
        let sum = counts
            .iter()
            .fold(0, |sum: usize, n| sum.saturating_add(*n));
        if sum > MOST_LAYERS {
            let expected = format!("at most {MOST_LAYERS} layers in all");
            let remedy = "write the number of layers of the checkpoint";
            self.fail(
                &[],
                ConfigProblem::new(key, expected, sum.to_string(), remedy),
            );
        }
    }

    fn length<T>(
        &mut self,
        reads: &'static [&'static str],
        key: &str,
        list: &[T],
        (length, of): (usize, &str),
    ) {
        if list.len() != length {
            let expected = format!("{length} entries, one for each {of}");
            let found = format!("{} entries", list.len());
            let remedy = format!("give each {of} one entry");
            self.fail(reads, ConfigProblem::new(key, expected, found, remedy));
        }
    }

    /// Names occur once, and there is at least one.
    fn unique(&mut self, key: &str, names: &[String]) {
        if names.is_empty() {
            self.fail(
                &[],
                ConfigProblem::new(key, "at least one name", "none", "list the names"),
            );
        }
        let mut earlier = BTreeSet::new();
        for (i, name) in names.iter().enumerate() {
            if !earlier.insert(name) {
                let key = format!("{key}[{i}]");
                let found = format!("`{name}` a second time");
                self.fail(
                    &[],
                    ConfigProblem::new(key, "different names", found, "remove or rename it"),
                );
            }
        }
    }

    /// Every name is a class of the model.
    fn classes(&mut self, key: &str, names: &[String]) {
        let spec = self.spec;
        let known: BTreeSet<&str> = spec.class_names.iter().map(String::as_str).collect();
        let expected = format!("one of class_names ({})", listed(&spec.class_names));
        let strangers = names.iter().enumerate();
        let strangers = strangers.filter(|(_, name)| !known.contains(name.as_str()));
        for (i, name) in strangers {
            let guess = self.findings.len() < MOST_GUESSES;
            let meant = guess.then(|| super::nearest::nearest(name, known.iter().copied()));
            let remedy = match meant.flatten() {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "use a name of class_names".into(),
            };
            let key = format!("{key}[{i}]");
            let found = format!("`{name}`");
            self.fail(
                &["class_names"],
                ConfigProblem::new(key, &expected, found, remedy),
            );
        }
    }

    /// A number inside an interval that `expected` describes.
    fn within(&mut self, key: &str, value: f64, (inside, expected): (bool, &str)) {
        if !inside {
            let remedy = format!("write {expected}");
            self.fail(
                &[],
                ConfigProblem::new(key, expected, format!("{value}"), remedy),
            );
        }
    }

    /// `lower < upper` and a whole number of cells of `size` between them.
    fn divides(
        &mut self,
        reads: &'static [&'static str],
        (key, what): (&str, &str),
        (lower, upper, size): (f64, f64, f64),
    ) {
        let cells = (upper - lower) / size;
        let whole = cells.round();
        if size > 0.0 && upper > lower && whole >= 1.0 && (cells - whole).abs() <= CELL_TOLERANCE {
            return;
        }
        let problem = if upper <= lower {
            ConfigProblem::new(
                key,
                format!("{what}: lower bound below upper bound"),
                format!("{lower} and {upper}"),
                "swap or correct the bounds",
            )
        } else if size <= 0.0 {
            ConfigProblem::new(
                key,
                format!("{what}: a cell size above 0"),
                format!("{size}"),
                "write the edge of a cell in metres",
            )
        } else {
            let whole = whole.max(1.0);
            ConfigProblem::new(
                key,
                format!("{what}: a whole number of cells"),
                format!("({upper} - {lower}) / {size} = {cells:.4}"),
                format!(
                    "use a cell of {} m, or an upper bound of {} m",
                    decimal((upper - lower) / whole),
                    decimal(lower + whole * size)
                ),
            )
        };
        self.fail(reads, problem);
    }
}

/// A length to the micrometre, without trailing zeros.
fn decimal(metres: f64) -> f64 {
    const MICROMETRES: f64 = 1e6;
    (metres * MICROMETRES).round() / MICROMETRES
}
