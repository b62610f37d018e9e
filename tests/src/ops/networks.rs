//! Swin blocks, patch merging, bilinear resizing: the functions that build the networks, run by the CPU
//! engine.

use std::path::Path;

use bevfusion::engine::{CpuEngine, Engine, EngineOptions, TensorBuffer};
use bevfusion::graph::networks::Layers;
use bevfusion::graph::networks::swin::{
    Block, patch_merging, relative_position_index, transformer_block, window_attention,
};
use bevfusion::graph::{GraphError, ValueId, Windows};
use bevfusion::weights::{Tensor, TensorData, Weights};
use serde::Deserialize;

use crate::golden::{GoldenError, GoldenFile};
use crate::ops::cases;
use crate::report::{Report, Tolerance};

/// float32 against the float64 original.
const TOLERANCE: Tolerance = Tolerance::OfMaximum(2e-5);

/// Runs every case below `dir` (the golden set's `ops` folder).
///
/// # Errors
/// When a golden file cannot be read.
pub fn run(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    bilinear(dir, report)?;
    position_index(dir, report)?;
    attention(dir, report)?;
    block(dir, report)?;
    merging(dir, report)
}

#[derive(Deserialize)]
struct MapCase {
    #[serde(rename = "H")]
    height: usize,
    #[serde(rename = "W")]
    width: usize,
}

#[derive(Deserialize)]
struct AttentionCase {
    #[serde(flatten)]
    map: MapCase,
    heads: usize,
    window: usize,
    shift: usize,
    #[serde(default)]
    ffn: usize,
}

impl AttentionCase {
    fn block<'a>(&self, name: &'a str) -> Block<'a> {
        Block {
            name,
            windows: Windows {
                height: self.map.height,
                width: self.map.width,
                window: self.window,
                shift: self.shift,
            },
            heads: self.heads,
            ffn: self.ffn,
        }
    }
}

#[derive(Deserialize)]
struct IndexCase {
    window: [usize; 2],
}

fn bilinear(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<serde_json::Value>(dir, "bilinear")? else {
        return Ok(());
    };
    for case in 0..cases.len() {
        let shape = file.shape(&format!("c{case}.out"))?;
        let size = [shape[2], shape[3]];
        compare("bilinear", &file, case, report, |l, x| {
            l.graph.resize(x, size)
        })?;
    }
    Ok(())
}

fn position_index(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<IndexCase>(dir, "relative_position_index")? else {
        return Ok(());
    };
    for (case, IndexCase { window }) in cases.iter().enumerate() {
        let index = relative_position_index(window[0]);
        let index: Vec<i64> = index.into_iter().map(|i| i as i64).collect();
        let want = file.i64(&format!("c{case}.index"))?;
        report.integers(
            format!("ops/relative_position_index c{case}"),
            &index,
            &want,
        );
    }
    Ok(())
}

fn attention(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<AttentionCase>(dir, "window_attention")? else {
        return Ok(());
    };
    for (i, case) in cases.iter().enumerate() {
        let block = case.block("p.w_msa");
        let build = |l: &mut Layers<'_>, x| window_attention(l, x, &block);
        compare("window_attention", &file, i, report, build)?;
    }
    Ok(())
}

fn block(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<AttentionCase>(dir, "swin_block")? else {
        return Ok(());
    };
    for (i, case) in cases.iter().enumerate() {
        let block = case.block("p");
        let build = |l: &mut Layers<'_>, x| transformer_block(l, x, &block);
        compare("swin_block", &file, i, report, build)?;
    }
    Ok(())
}

fn merging(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
    let Some((file, cases)) = cases::<MapCase>(dir, "patch_merging")? else {
        return Ok(());
    };
    for (i, case) in cases.iter().enumerate() {
        let size = [case.height, case.width];
        let build = |l: &mut Layers<'_>, x| patch_merging(l, x, size, "p");
        compare("patch_merging", &file, i, report, build)?;
    }
    Ok(())
}

/// Builds a graph around `build`, runs it on `c{case}.x` and compares with `c{case}.out`.
fn compare(
    op: &str,
    file: &GoldenFile,
    case: usize,
    report: &mut Report,
    build: impl FnOnce(&mut Layers<'_>, ValueId) -> Result<ValueId, GraphError>,
) -> Result<(), GoldenError> {
    let stage = format!("ops/{op} c{case}");
    let refused = |problem: String| GoldenError::Refused {
        stage: stage.clone(),
        problem,
    };
    let weights = parameters(file, case)?;
    let shape = file.shape(&format!("c{case}.x"))?;
    let mut l = Layers::new(op, "", &weights);
    let x = l.graph.input("x", &shape);
    let out = x.and_then(|x| build(&mut l, x));
    let graph = out.and_then(|out| l.graph.finish(&[("out", out)]));
    let graph = graph.map_err(|error| refused(error.to_string()))?;
    let options = EngineOptions { threads: Some(2) };
    let input = file.f32(&format!("c{case}.x"))?;
    let mut outputs = [TensorBuffer::default()];
    CpuEngine::new(options)
        .load(&graph)
        .and_then(|mut network| network.run(&[&input], &mut outputs))
        .map_err(|error| refused(error.to_string()))?;
    let want = file.f32(&format!("c{case}.out"))?;
    report.floats(
        stage,
        outputs[0].f32().unwrap_or_default(),
        &want,
        TOLERANCE,
    );
    Ok(())
}

/// The tensors `c{case}.p.*` under their names from `p.` on.
fn parameters(file: &GoldenFile, case: usize) -> Result<Weights, GoldenError> {
    let mut weights = Weights::default();
    for full in file.names()? {
        let Some(name) = full.strip_prefix(&format!("c{case}.")) else {
            continue;
        };
        if name.starts_with("p.") {
            let shape = file.shape(&full)?;
            let data = TensorData::F32(file.f32(&full)?);
            weights.tensors.insert(name.into(), Tensor { shape, data });
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::{attention, bilinear, block, merging, position_index};
    use crate::ops::check;

    #[test]
    fn maps_are_resized_as_the_original_does() {
        check(bilinear);
    }

    #[test]
    fn position_indices_equal_the_original() {
        check(position_index);
    }

    #[test]
    fn window_attention_equals_the_original() {
        check(attention);
    }

    #[test]
    fn swin_blocks_equal_the_original() {
        check(block);
    }

    #[test]
    fn patches_are_merged_as_the_original_does() {
        check(merging);
    }
}
