//! The twins against the golden operators, on the CPU: what the kernels are held against is right itself.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bevfusion_kernels::reference::layer_norm::{joined, layer_norm};
    use bevfusion_kernels::reference::upsample::upsample;
    use bevfusion_kernels::reference::window_attention::{WindowAttentionShape, window_attention};
    use serde::Deserialize;

    use crate::golden::{GoldenError, golden_dir};
    use crate::ops::cases;
    use crate::report::{Report, Tolerance};

    const TOLERANCE: Tolerance = Tolerance::OfMaximum(1e-5);

    #[derive(Deserialize)]
    struct Case {
        #[serde(rename = "H")]
        height: usize,
        #[serde(rename = "W")]
        width: usize,
        #[serde(default)]
        heads: usize,
        #[serde(default)]
        window: usize,
        #[serde(default)]
        shift: usize,
    }

    /// Runs the cases of the repository and those of the larger golden set, where there is one.
    fn check(cases: impl Fn(&Path, &mut Report) -> Result<(), GoldenError>) {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let mut report = Report::default();
        for set in std::iter::once(own).chain(golden_dir()) {
            cases(&set.join("ops"), &mut report).expect("the golden files are readable");
        }
        assert!(!report.rows.is_empty(), "nothing was compared");
        assert_eq!(report.failures().count(), 0, "{report}");
    }

    /// `[rows, in]` · `[out, in]`ᵀ + bias.
    fn linear(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f32> {
        let dot = |row: &[f32], weights: &[f32]| {
            let products = row.iter().zip(weights);
            products
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>()
        };
        let mut out = Vec::new();
        for row in x.chunks_exact(inputs) {
            let columns = weight.chunks_exact(inputs).enumerate();
            out.extend(columns.map(|(column, weights)| {
                (dot(row, weights) + f64::from(bias.get(column).copied().unwrap_or(0.0))) as f32
            }));
        }
        out
    }

    fn attention(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
        let Some((file, cases)) = cases::<Case>(dir, "window_attention")? else {
            return Ok(());
        };
        for (i, case) in cases.iter().enumerate() {
            let (x, shape) = (format!("c{i}.x"), file.shape(&format!("c{i}.x"))?);
            let channels = shape[2];
            let layer = WindowAttentionShape {
                images: shape[0],
                size: [case.height, case.width],
                heads: case.heads,
                depth: channels / case.heads,
                window: case.window,
                shift: case.shift,
            };
            let get = |name: &str| file.f32(&format!("c{i}.p.w_msa.{name}"));
            let [mut weight, mut bias] = [get("qkv.weight")?, get("qkv.bias")?];
            let scale = bevfusion_kernels::cuda::window_attention::query_scale(layer.depth);
            for value in weight[..channels * channels]
                .iter_mut()
                .chain(&mut bias[..channels])
            {
                *value = (f64::from(*value) * scale) as f32;
            }
            let qkv = linear(&file.f32(&x)?, &weight, &bias, channels);
            let table = get("relative_position_bias_table")?;
            let mixed = window_attention(&layer, &qkv, &bias, &table);
            let out = linear(&mixed, &get("proj.weight")?, &get("proj.bias")?, channels);
            let want = file.f32(&format!("c{i}.out"))?;
            report.floats(format!("window_attention c{i}"), &out, &want, TOLERANCE);
        }
        Ok(())
    }

    /// mmdet's feature 4c + p of pixel p, where the rows have p · C + c.
    fn pixel_major(rows: &[f32], channels: usize) -> Vec<f32> {
        let rows = rows.chunks_exact(4 * channels);
        rows.flat_map(|row| (0..4 * channels).map(|i| row[i % channels * 4 + i / channels]))
            .collect()
    }

    fn merging(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
        let Some((file, cases)) = cases::<Case>(dir, "patch_merging")? else {
            return Ok(());
        };
        for (i, case) in cases.iter().enumerate() {
            let (x, shape) = (format!("c{i}.x"), file.shape(&format!("c{i}.x"))?);
            let channels = shape[2];
            let get = |name: &str| {
                let values = file.f32(&format!("c{i}.p.{name}"))?;
                Ok::<_, GoldenError>(pixel_major(&values, channels))
            };
            let rows = joined(&file.f32(&x)?, [case.height, case.width], channels);
            let normed = layer_norm(&rows, &get("norm.weight")?, &get("norm.bias")?, 1e-5);
            let out = linear(&normed, &get("reduction.weight")?, &[], 4 * channels);
            let want = file.f32(&format!("c{i}.out"))?;
            report.floats(format!("patch_merging c{i}"), &out, &want, TOLERANCE);
        }
        Ok(())
    }

    /// `[outer, a, b]` → `[outer, b, a]`.
    fn swapped(values: &[f32], a: usize, b: usize) -> Vec<f32> {
        let blocks = values.chunks_exact(a * b);
        blocks
            .flat_map(|block| (0..a * b).map(|i| block[i % a * b + i / a]))
            .collect()
    }

    fn resizing(dir: &Path, report: &mut Report) -> Result<(), GoldenError> {
        let Some((file, cases)) = cases::<serde_json::Value>(dir, "bilinear")? else {
            return Ok(());
        };
        for i in 0..cases.len() {
            let shapes = [format!("c{i}.x"), format!("c{i}.out")].map(|name| file.shape(&name));
            let [from, to] = shapes;
            let (from, to) = (from?, to?);
            let x = swapped(&file.f32(&format!("c{i}.x"))?, from[1], from[2] * from[3]);
            let out = upsample(&x, [from[2], from[3]], [to[2], to[3]], from[1]);
            let out = swapped(&out, to[2] * to[3], to[1]);
            let want = file.f32(&format!("c{i}.out"))?;
            report.floats(format!("bilinear c{i}"), &out, &want, TOLERANCE);
        }
        Ok(())
    }

    #[test]
    fn attention_equals_the_original() {
        check(attention);
    }

    #[test]
    fn joined_rows_equal_the_original() {
        check(merging);
    }

    #[test]
    fn resized_maps_equal_the_original() {
        check(resizing);
    }
}
