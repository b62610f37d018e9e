//! `--engine`: the GPU where it is asked for and there, the CPU where it is not.

use bevfusion_kernels::driver::Context;
use bevfusion_tests::command::{Ended, bevfusion, says};
use bevfusion_tests::home::Home;

use super::results::success;

/// `bevfusion bench` for one frame of the small model.
fn bench(with_camera: bool, engine: &str) -> Ended {
    let home = Home::new().expect("a folder");
    let weights = home.weights(with_camera).expect("weights");
    let shortest = ["--duration", "0", "--warmup", "0", "--iterations", "1"];
    bevfusion(
        &[
            &["bench", "-w", &weights, "--engine", engine],
            &shortest[..],
        ]
        .concat(),
    )
}

#[test]
fn auto_runs_a_camera_model_on_the_cpu_whatever_the_machine() {
    says(&success(bench(true, "auto")).out, &["engine cpu"]);
}

#[test]
fn a_gpu_that_is_asked_for_and_missing_is_an_error_with_the_remedy() {
    let ended = bench(false, "cuda");
    // On a machine with a GPU the same command measures it.
    if Context::new(0).is_ok() {
        says(&success(ended).out, &["engine cuda"]);
    } else {
        assert_ne!(ended.code, 0);
        says(&ended.err, &["error: ", "CUDA driver", "--engine cpu"]);
    }
}
