//! The dense networks after the two branches: BEV decoder and head.

use super::camera_branch::StageTimes;
use super::clock::Stopwatch;
use super::{FaultCode, FrameFault, StageId};
use crate::engine::{Network, TensorBuffer};
use crate::head::HeadOutput;

pub(super) struct DenseNetworks {
    decoder: Option<Box<dyn Network>>,
    head: Box<dyn Network>,
    bev: [TensorBuffer; 1],
    output: [TensorBuffer; 3],
}

impl DenseNetworks {
    pub(super) fn new(decoder: Option<Box<dyn Network>>, head: Box<dyn Network>) -> Self {
        Self {
            decoder,
            head,
            bev: Default::default(),
            output: Default::default(),
        }
    }

    /// The branches' maps, camera first, to the raw proposals.
    pub(super) fn run(
        &mut self,
        branches: [Option<&[f32]>; 2],
        times: &mut StageTimes,
    ) -> Result<HeadOutput<'_>, FrameFault> {
        let fault = |stage| FrameFault {
            code: FaultCode::Engine,
            stage,
            detail: stage as u64,
        };
        let mut watch = Stopwatch::start();
        let [first, second] = branches;
        let maps = [first.or(second).unwrap_or(&[]), second.unwrap_or(&[])];
        let present = branches.iter().flatten().count();

        let stage = StageId::BevDecoder;
        let bev = match &mut self.decoder {
            Some(decoder) => {
                decoder
                    .run(&maps[..present], &mut self.bev)
                    .map_err(|_ignored| fault(stage))?;
                self.bev[0].f32().ok_or_else(|| fault(stage))?
            }
            None => maps[0],
        };
        times[stage as usize] = watch.lap();

        let stage = StageId::Head;
        self.head
            .run(&[bev], &mut self.output)
            .map_err(|_ignored| fault(stage))?;
        times[stage as usize] = watch.lap();
        let [boxes, score, label] = &self.output;
        match (boxes.f32(), score.f32(), label.i64()) {
            (Some(bbox_pred), Some(score), Some(label)) => Ok(HeadOutput {
                bbox_pred,
                score,
                label,
            }),
            _ => Err(fault(stage)),
        }
    }
}
