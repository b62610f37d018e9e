//! Made-up inputs: the frames of `bevfusion bench`, and weights of a size that keeps activations finite.

use bevfusion::config::ModelSpec;
pub use bevfusion::dataset::synthetic::{Noise, POINTS, calibration, cloud, frame, image};
use bevfusion::weights::{Tensor, TensorData, Weights, expected_tensors};

/// Weights of every tensor that the model expects, uniform and scaled by the number of inputs.
#[must_use]
pub fn weights(spec: &ModelSpec, seed: u64) -> Weights {
    let mut noise = Noise::new(seed);
    let mut weights = Weights::default();
    for expected in expected_tensors(spec) {
        let count: usize = expected.shape.iter().product();
        let fan_in = (count / expected.shape.first().copied().unwrap_or(1).max(1)).max(1);
        let range = if expected.name.ends_with("running_var") {
            [1.0, 1.5]
        } else if expected.shape.len() > 1 {
            let bound = (6.0 / fan_in as f64).sqrt();
            [-bound, bound]
        } else {
            [-0.1, 0.1]
        };
        let data = TensorData::F32(noise.take(count, range));
        let tensor = Tensor {
            shape: expected.shape,
            data,
        };
        weights.tensors.insert(expected.name, tensor);
    }
    weights
}
