//! The axis of a chart: where a value is drawn, and which values are written beside it.

/// About how many values are written.
const TICKS: f64 = 6.0;

/// Values to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) values: [f64; 2],
    pub(super) pixels: [f32; 2],
}

impl Axis {
    pub(super) const fn new(values: [f64; 2], pixels: [f32; 2]) -> Self {
        Self { values, pixels }
    }

    pub(super) fn at(&self, value: f64) -> f32 {
        let [low, high] = self.values;
        let share = ((value - low) / (high - low)) as f32;
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    /// Round values, each with the digits that tell it from its neighbours.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let [low, high] = self.values;
        let rough = (high - low) / TICKS;
        let power = 10.0_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        (first..=last)
            .map(|index| index as f64 * step)
            .map(|value| (value, format!("{value:.digits$}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Axis::new([0.31, 0.78], [0.0, 100.0]).ticks();
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0.4", "0.5", "0.6", "0.7"]);
    }
}
