//! GeneralizedLSSFPN: joins the backbone's maps from coarse to fine.
//!
//! In: maps of stages 1, 2, … `[N, C_i, h_i, w_i]`. Out: one map fewer, the finest first, all with the
//! neck's channels. Only the finest goes on. Source: mmdetection3d `GeneralizedLSSFPN`.

use super::layers::{Conv, Layers, Norm};
use crate::graph::{GraphError, ValueId};

/// eps of its batch norms.
const EPS: f64 = 1e-5;

/// The neck below prefix `img_neck`: `fpn.out0`.
pub(super) fn lssfpn(
    l: &mut Layers<'_>,
    maps: &[ValueId],
    channels: usize,
) -> Result<ValueId, GraphError> {
    let Some((top, finer)) = maps.split_last() else {
        return Err(GraphError::setting(
            "camera.backbone.depths",
            maps.len(),
            "the neck needs at least one map",
        ));
    };
    let mut coarse = *top;
    for (level, own) in finer.iter().enumerate().rev() {
        let size = match l.graph.shape(*own) {
            [.., rows, columns] => [*rows, *columns],
            _ => [0, 0],
        };
        let upsampled = l.graph.resize(coarse, size)?;
        let joined = l.graph.concat(&[*own, upsampled], 1)?;
        let lateral = conv_module(l, joined, ("lateral_convs", level, channels, 1))?;
        coarse = conv_module(l, lateral, ("fpn_convs", level, channels, 3))?;
        l.graph.name(coarse, &format!("fpn.out{level}"))?;
    }
    Ok(coarse)
}

/// Convolution without bias, batch norm, ReLU; kernel 1 or 3 with the size kept.
fn conv_module(
    l: &mut Layers<'_>,
    x: ValueId,
    (kind, level, out, kernel): (&str, usize, usize, usize),
) -> Result<ValueId, GraphError> {
    let prefix = format!("img_neck.{kind}.{level}");
    let conv = Conv {
        name: &format!("{prefix}.conv"),
        bias: false,
        norm: Some(Norm {
            name: &format!("{prefix}.bn"),
            eps: EPS,
        }),
        relu: true,
        out,
        kernel,
        stride: 1,
        padding: kernel / 2,
    };
    l.conv(x, &conv)
}
