//! Cameras that fail, on the GPU: which frames are run, dropped or run on the LiDAR alone, what the others'
//! part of the pooled map is then, and what a new calibration changes. Everything is compared bit for bit.

mod calibrations;
mod device;
mod failures;
mod pooled;
mod rig;

use std::error::Error;
use std::sync::Arc;

use bevfusion_kernels::driver::Context;

use self::rig::Rig;
use crate::report::Report;

type Part = fn(&Rig, bool, &mut Report) -> Result<(), Box<dyn Error>>;

/// Compares all parts on a small model with two cameras. Each part builds its own pipelines on the first GPU,
/// the one of the context.
pub fn run(_context: &Arc<Context>, quick: bool, report: &mut Report) {
    let rigs = vec![rig::small_model()];
    let parts: [(&str, Part); 6] = [
        ("failures", failures::one_by_one),
        ("all needed", failures::all_needed),
        ("LiDAR only", failures::lidar_only),
        ("pooled", pooled::run),
        ("calibrations", calibrations::run),
        ("device images", device::run),
    ];
    for made in rigs {
        let rig = match made {
            Ok(rig) => rig,
            Err(error) => {
                report.failure("gpu cameras", error.to_string());
                continue;
            }
        };
        for (name, part) in parts {
            if let Err(error) = part(&rig, quick, report) {
                report.failure(rig.stage(name), error.to_string());
            }
        }
    }
}
