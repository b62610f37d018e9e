//! The published training recipes: epochs, learning rate, β₁ and clipping of each model variant.
//!
//! Sources: mmdetection3d `projects/BEVFusion/configs` (nuScenes) and AWML
//! `projects/BEVFusion/configs/t4dataset` (T4).

use super::{Clock, Phase, Ramp, Schedule, ScheduleError, Target};

/// β₁ before the first phase, and the cap of [`Momentum::Sane`].
const BASE_MOMENTUM: f64 = 0.9;
/// Where the first momentum phase goes: a ratio that mmdetection3d uses as an absolute value.
const FIRST_MOMENTUM: f64 = 0.85 / 0.95;

/// How β₁ runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Momentum {
    /// The published curve, capped at 0.9: the cycle dips to 0.895 and returns.
    #[default]
    Sane,
    /// The published curve as it is: it rises to 1.0, where Adam's bias correction makes the last few
    /// updates oversized steps along a frozen momentum.
    Mmdet3d,
}

/// A published recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// nuScenes LiDAR (mmdetection3d), 20 epochs.
    NuscenesLidar,
    /// nuScenes camera + LiDAR (mmdetection3d), 6 epochs from the LiDAR model.
    NuscenesFusion,
    /// T4 LiDAR base, 50 epochs.
    T4LidarBase,
    /// T4 LiDAR with intensity and offline, 30 epochs.
    T4Lidar,
    /// T4 camera + LiDAR, 20 epochs.
    T4Fusion,
    /// T4 camera with LiDAR depth, 30 epochs.
    T4Camera,
}

impl Recipe {
    /// Length of the run.
    #[must_use]
    pub const fn epochs(self) -> u32 {
        match self {
            Self::NuscenesLidar | Self::T4Fusion => 20,
            Self::NuscenesFusion => 6,
            Self::T4LidarBase => 50,
            Self::T4Lidar | Self::T4Camera => 30,
        }
    }

    /// Learning rate before any phase.
    #[must_use]
    pub const fn base_lr(self) -> f64 {
        match self {
            Self::NuscenesLidar | Self::T4Fusion | Self::T4Camera => 1e-4,
            Self::NuscenesFusion => 2e-4,
            Self::T4LidarBase | Self::T4Lidar => 1.4141e-4,
        }
    }

    /// Largest norm of all gradients.
    #[must_use]
    pub const fn clip_norm(self) -> f64 {
        match self {
            Self::T4Fusion | Self::T4Camera => 0.1,
            _ => 35.0,
        }
    }

    /// Epoch at which the second phase begins.
    const fn turn(self) -> f64 {
        match self {
            Self::NuscenesLidar | Self::T4Lidar | Self::T4Camera => 8.0,
            Self::NuscenesFusion => 2.4,
            Self::T4LidarBase => 15.0,
            Self::T4Fusion => 6.0,
        }
    }

    /// Learning rate; `warm_up` is the number of warm-up iterations of [`Recipe::NuscenesFusion`] (500
    /// in the original) and is not used by the others.
    ///
    /// # Errors
    /// When an epoch has no iterations, or the warm-up fewer than two.
    pub fn learning_rate(self, per_epoch: u64, warm_up: u64) -> Result<Schedule, ScheduleError> {
        let (base, turn, end) = (self.base_lr(), self.turn(), f64::from(self.epochs()));
        let cosine = |target, begin, end| Phase {
            ramp: Ramp::Cosine(target),
            clock: Clock::EpochsByIteration,
            begin,
            end,
        };
        let linear = |start_factor, clock, end| Phase {
            ramp: Ramp::Linear { start_factor },
            clock,
            begin: 0.0,
            end,
        };
        let fall = cosine(Target::RatioOfBase(1e-4), turn, end);
        let phases = match self {
            Self::NuscenesLidar | Self::T4LidarBase | Self::T4Lidar => {
                [cosine(Target::RatioOfBase(10.0), 0.0, turn), fall]
            }
            // The published configuration writes a third with eight digits.
            Self::NuscenesFusion => [
                linear(0.333_333_33, Clock::Iterations, warm_up as f64),
                cosine(Target::RatioOfBase(1e-4), 0.0, end),
            ],
            Self::T4Fusion | Self::T4Camera => [linear(1.0 / 3.0, Clock::Epochs, turn), fall],
        };
        Schedule::new(base, &phases, per_epoch)
    }

    /// β₁ of AdamW.
    ///
    /// # Errors
    /// When an epoch has no iterations or too few to hold both phases.
    pub fn momentum(
        self,
        kind: Momentum,
        per_epoch: u64,
    ) -> Result<MomentumSchedule, ScheduleError> {
        let cosine = |target, begin, end| Phase {
            ramp: Ramp::Cosine(Target::Value(target)),
            clock: Clock::EpochsByIteration,
            begin,
            end,
        };
        let phases = [
            cosine(FIRST_MOMENTUM, 0.0, self.turn()),
            cosine(1.0, self.turn(), f64::from(self.epochs())),
        ];
        let curve = Schedule::new(BASE_MOMENTUM, &phases, per_epoch)?;
        Ok(MomentumSchedule { curve, kind })
    }
}

/// β₁ over the iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct MomentumSchedule {
    curve: Schedule,
    kind: Momentum,
}

impl MomentumSchedule {
    /// β₁ of the current iteration.
    #[must_use]
    pub fn value(&self) -> f64 {
        match self.kind {
            Momentum::Sane => self.curve.value().min(BASE_MOMENTUM),
            Momentum::Mmdet3d => self.curve.value(),
        }
    }

    /// Moves to the next iteration.
    pub fn step(&mut self) {
        self.curve.step();
    }

    /// Moves forward to `iteration`.
    pub fn advance_to(&mut self, iteration: u64) {
        self.curve.advance_to(iteration);
    }
}

#[cfg(test)]
mod tests {
    use super::{Momentum, Recipe};
    use crate::schedule::Schedule;

    fn assert_values(mut schedule: Schedule, wants: &[(u64, f64)], digits: f64) {
        for (iteration, want) in wants {
            schedule.advance_to(*iteration);
            let error = (schedule.value() - want).abs();
            assert!(
                error <= digits * want,
                "{iteration}: {} {want}",
                schedule.value()
            );
        }
    }

    #[test]
    fn lidar_learning_rate_is_that_of_the_original() {
        let wants = [
            (0, 1e-4),
            (1, 1.003_469_34e-4),
            (40, 5.5e-4),
            (79, 9.996_530_66e-4),
            (80, 9.996_530_66e-4),
            (81, 9.994_817_90e-4),
            (140, 4.998_315_33e-4),
            (198, 6.949_88e-7),
            (199, 1.812_76e-7),
        ];
        let schedule = Recipe::NuscenesLidar.learning_rate(10, 0).unwrap();
        assert_values(schedule.clone(), &wants[..7], 1e-8);
        assert_values(schedule, &wants[7..], 1e-5);
    }

    #[test]
    fn fusion_warm_up_multiplies_with_the_cosine() {
        let wants = [
            (0, 6.666_666_67e-5),
            (1, 6.938_727_97e-5),
            (25, 1.341_178_19e-4),
            (49, 1.967_272_12e-4),
            (50, 1.965_930_34e-4),
            (240, 1.309_086_83e-4),
            (599, 2.137_06e-8),
        ];
        let schedule = Recipe::NuscenesFusion.learning_rate(100, 50).unwrap();
        assert_values(schedule.clone(), &wants[..6], 2e-8);
        assert_values(schedule, &wants[6..], 1e-5);
    }

    #[test]
    fn t4_fusion_warms_up_by_epoch() {
        let wants = [3.3333e-5, 4.6667e-5, 6e-5, 7.3333e-5, 8.6667e-5, 1e-4, 1e-4];
        let mut schedule = Recipe::T4Fusion.learning_rate(10, 0).unwrap();
        for (epoch, want) in (0_u64..).zip(wants) {
            schedule.advance_to(epoch * 10);
            assert!((schedule.value() - want).abs() < 5e-9, "epoch {epoch}");
            if epoch < 6 {
                schedule.advance_to(epoch * 10 + 9);
                assert!(
                    (schedule.value() - want).abs() < 5e-9,
                    "end of epoch {epoch}"
                );
            }
        }
        schedule.advance_to(61);
        assert!(schedule.value() < 1e-4);
    }

    #[test]
    fn momentum_is_that_of_the_original_or_capped() {
        let wants = [
            (0, 0.9),
            (1, 0.899_997_971),
            (40, 0.897_368_421),
            (79, 0.894_738_871),
            (80, 0.894_738_871),
            (81, 0.894_756_906),
            (140, 0.947_369_435),
            (198, 0.999_927_872),
            (199, 0.999_981_965),
        ];
        let mut faithful = Recipe::NuscenesLidar
            .momentum(Momentum::Mmdet3d, 10)
            .unwrap();
        let mut sane = Recipe::NuscenesLidar
            .momentum(Momentum::default(), 10)
            .unwrap();
        for (iteration, want) in wants {
            faithful.advance_to(iteration);
            sane.advance_to(iteration);
            assert!(
                (faithful.value() - want).abs() < 1e-9,
                "{iteration}: {}",
                faithful.value()
            );
            assert!((sane.value() - want.min(0.9)).abs() < 1e-9, "{iteration}");
        }
    }

    #[test]
    fn every_recipe_ends_far_below_its_base() {
        use Recipe::{NuscenesFusion, NuscenesLidar, T4Camera, T4Fusion, T4Lidar, T4LidarBase};
        for recipe in [
            NuscenesLidar,
            NuscenesFusion,
            T4LidarBase,
            T4Lidar,
            T4Fusion,
            T4Camera,
        ] {
            let mut schedule = recipe.learning_rate(100, 50).unwrap();
            schedule.advance_to(u64::from(recipe.epochs()) * 100 - 1);
            assert!(schedule.value() < 1e-3 * recipe.base_lr(), "{recipe:?}");
            assert!(schedule.value() > 1e-4 * recipe.base_lr(), "{recipe:?}");
        }
    }
}
