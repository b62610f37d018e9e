//! Learning rate and Adam's β₁ over the iterations of a training run.
//!
//! In: a base value, phases and the number of iterations of an epoch. Out: the value that each iteration
//! uses. Values follow mmengine's recursions, not the closed forms, so that phases chain and multiply as
//! in the original: a phase starts from the value that it finds, the value of its last active step is
//! repeated once at the switch, and the nominal end value is never reached.

pub mod clip;
pub mod recipe;

use std::f64::consts::PI;

/// Where a cosine phase goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// To this value.
    Value(f64),
    /// To this multiple of the schedule's base value.
    RatioOfBase(f64),
}

/// How a phase changes the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ramp {
    /// Half a cosine from the current value to a target over the phase's length.
    Cosine(Target),
    /// Multiplies by a factor that grows linearly from this one to 1, which it has at the last step.
    Linear {
        /// Factor of the first step.
        start_factor: f64,
    },
}

/// What the bounds of a phase count, and when it steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Bounds in iterations; steps at each iteration.
    Iterations,
    /// Bounds in (fractions of) epochs; steps at each iteration.
    EpochsByIteration,
    /// Bounds in epochs; steps at the end of each epoch.
    Epochs,
}

/// One phase, active for `begin` ≤ step < `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// How the value changes.
    pub ramp: Ramp,
    /// Unit of the bounds.
    pub clock: Clock,
    /// First step.
    pub begin: f64,
    /// Step after the last.
    pub end: f64,
}

/// Why a schedule cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// No iterations.
    #[error("an epoch has 0 iterations: the dataset is smaller than one batch")]
    EmptyEpoch,
    /// A phase that cannot run.
    #[error(
        "schedule phase {index} runs from {begin} to {end}: expected 0 <= begin < end, at least \
         one step for a cosine and two for a linear warm-up"
    )]
    Bounds {
        /// Index of the phase.
        index: usize,
        /// Its begin.
        begin: f64,
        /// Its end.
        end: f64,
    },
    /// A base value, target or factor that makes no sense.
    #[error("schedule {what} is {value}, expected a positive finite number")]
    Value {
        /// Which number.
        what: &'static str,
        /// The number.
        value: f64,
    },
}

/// A phase with whole bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Steps {
    ramp: Ramp,
    /// When it steps: [`Clock::Iterations`] or [`Clock::Epochs`].
    clock: Clock,
    begin: u64,
    end: u64,
    /// Half a cosine period, in steps.
    period: f64,
}

/// A value over time; [`Schedule::step`] moves to the next iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    base: f64,
    phases: Vec<Steps>,
    iterations_per_epoch: u64,
    iteration: u64,
    value: f64,
}

impl Schedule {
    /// The schedule at iteration 0.
    ///
    /// # Errors
    /// When a phase has no steps or a number is not usable.
    pub fn new(
        base: f64,
        phases: &[Phase],
        iterations_per_epoch: u64,
    ) -> Result<Self, ScheduleError> {
        if iterations_per_epoch == 0 {
            return Err(ScheduleError::EmptyEpoch);
        }
        positive("base value", base)?;
        let mut steps = Vec::with_capacity(phases.len());
        for (index, phase) in phases.iter().enumerate() {
            steps.push(whole_steps(index, phase, iterations_per_epoch)?);
        }
        let mut schedule = Self {
            base,
            phases: steps,
            iterations_per_epoch,
            iteration: 0,
            value: base,
        };
        for at in 0..schedule.phases.len() {
            schedule.apply(at, 0);
        }
        Ok(schedule)
    }

    /// The value that the current iteration uses.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The current iteration.
    #[must_use]
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Moves to the next iteration.
    pub fn step(&mut self) {
        self.iteration += 1;
        self.apply_all(Clock::Iterations, self.iteration);
        // The original ends the epoch after the iteration's own step.
        if self.iteration.is_multiple_of(self.iterations_per_epoch) {
            self.apply_all(Clock::Epochs, self.iteration / self.iterations_per_epoch);
        }
    }

    /// Moves forward to `iteration`, as when a run is resumed; does nothing when it is already past.
    pub fn advance_to(&mut self, iteration: u64) {
        while self.iteration < iteration {
            self.step();
        }
    }

    /// Applies the phases that step with `clock`, in order.
    fn apply_all(&mut self, clock: Clock, now: u64) {
        for at in 0..self.phases.len() {
            if self.phases[at].clock == clock {
                self.apply(at, now);
            }
        }
    }

    /// Applies phase `at` when it is active at its clock's `now`.
    fn apply(&mut self, at: usize, now: u64) {
        let phase = self.phases[at];
        if !(phase.begin..phase.end).contains(&now) {
            return;
        }
        let step = (now - phase.begin) as f64;
        let first = now == phase.begin;
        match phase.ramp {
            Ramp::Cosine(_) if first => {}
            Ramp::Cosine(target) => {
                let target = match target {
                    Target::Value(value) => value,
                    Target::RatioOfBase(ratio) => ratio * self.base,
                };
                let height = |step: f64| 1.0 + (PI * step / phase.period).cos();
                self.value = height(step) / height(step - 1.0) * (self.value - target) + target;
            }
            Ramp::Linear { start_factor } if first => self.value *= start_factor,
            Ramp::Linear { start_factor } => {
                let (steps, rise) = ((phase.end - phase.begin - 1) as f64, 1.0 - start_factor);
                self.value *= 1.0 + rise / (steps * start_factor + (step - 1.0) * rise);
            }
        }
    }
}

fn whole_steps(index: usize, phase: &Phase, per_epoch: u64) -> Result<Steps, ScheduleError> {
    let scale = match phase.clock {
        Clock::EpochsByIteration => per_epoch as f64,
        Clock::Iterations | Clock::Epochs => 1.0,
    };
    // Truncated, as the original does with fractional epochs; a negative or NaN bound becomes 0.
    let (begin, end) = ((phase.begin * scale) as u64, (phase.end * scale) as u64);
    let least = match phase.ramp {
        Ramp::Cosine(Target::Value(value) | Target::RatioOfBase(value)) => {
            positive("cosine target", value)?;
            1
        }
        Ramp::Linear { start_factor } => {
            positive("start factor", start_factor)?;
            2
        }
    };
    let in_order = phase.begin >= 0.0 && phase.end.is_finite() && end >= begin + least;
    if !in_order {
        return Err(ScheduleError::Bounds {
            index,
            begin: phase.begin,
            end: phase.end,
        });
    }
    Ok(Steps {
        ramp: phase.ramp,
        clock: match phase.clock {
            Clock::Epochs => Clock::Epochs,
            Clock::Iterations | Clock::EpochsByIteration => Clock::Iterations,
        },
        begin,
        end,
        period: (end - begin) as f64,
    })
}

fn positive(what: &'static str, value: f64) -> Result<(), ScheduleError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ScheduleError::Value { what, value })
}

#[cfg(test)]
mod tests {
    use super::{Clock, Phase, Ramp, Schedule, ScheduleError, Target};

    fn phase(ramp: Ramp, clock: Clock, begin: f64, end: f64) -> Phase {
        Phase {
            ramp,
            clock,
            begin,
            end,
        }
    }

    #[test]
    fn a_cosine_follows_its_closed_form() {
        let fall = Ramp::Cosine(Target::Value(0.2));
        let phases = [phase(fall, Clock::Iterations, 0.0, 50.0)];
        let mut schedule = Schedule::new(1.0, &phases, 10).unwrap();
        for step in 0..50_u8 {
            let angle = std::f64::consts::PI * f64::from(step) / 50.0;
            let want = 0.2 + 0.8 * (1.0 + angle.cos()) / 2.0;
            assert!((schedule.value() - want).abs() < 1e-12, "step {step}");
            schedule.step();
        }
        let last = schedule.value();
        schedule.advance_to(80);
        assert_eq!(schedule.value().to_bits(), last.to_bits());
    }

    #[test]
    fn linear_warm_up_ends_at_the_base() {
        let phases = [phase(
            Ramp::Linear { start_factor: 0.1 },
            Clock::Iterations,
            0.0,
            11.0,
        )];
        let mut schedule = Schedule::new(2.0, &phases, 100).unwrap();
        assert!((schedule.value() - 0.2).abs() < 1e-15);
        schedule.advance_to(5);
        assert!((schedule.value() - 1.1).abs() < 1e-12);
        schedule.advance_to(10);
        assert!((schedule.value() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn advancing_equals_stepping() {
        let phases = [
            phase(Ramp::Linear { start_factor: 0.5 }, Clock::Epochs, 0.0, 3.0),
            phase(
                Ramp::Cosine(Target::RatioOfBase(0.1)),
                Clock::EpochsByIteration,
                0.0,
                4.5,
            ),
        ];
        let mut stepped = Schedule::new(1.0, &phases, 7).unwrap();
        let mut advanced = stepped.clone();
        (0..29).for_each(|_| stepped.step());
        advanced.advance_to(29);
        assert_eq!(stepped, advanced);
    }

    #[test]
    fn impossible_phases_are_refused() {
        let cosine = Ramp::Cosine(Target::Value(1.0));
        let bounds = [
            (5.0, 5.0),
            (-1.0, 5.0),
            (6.0, 5.0),
            (0.0, f64::INFINITY),
            (f64::NAN, 2.0),
        ];
        for (begin, end) in bounds {
            let phases = [phase(cosine, Clock::Epochs, begin, end)];
            let error = Schedule::new(1.0, &phases, 10).unwrap_err();
            assert!(
                matches!(error, ScheduleError::Bounds { index: 0, .. }),
                "{begin} {end}"
            );
        }
        assert_eq!(Schedule::new(1.0, &[], 0), Err(ScheduleError::EmptyEpoch));
        assert!(Schedule::new(f64::NAN, &[], 1).is_err());
    }
}
