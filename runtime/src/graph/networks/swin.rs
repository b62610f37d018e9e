//! Swin transformer as mmdet builds it.
//!
//! In: normalised images `[N, 3, H, W]`. Out: the maps of stages 1, 2, … after their own LayerNorm,
//! `[N, C, h, w]`. Tokens are `[N, h·w, C]`, row-major. Source: mmdet 3.3.0 `SwinTransformer` (attention
//! from the original Swin, patch merging channel-major).

use super::layers::{Conv, Layers, rounded, transposed, widened};
use crate::config::SwinSpec;
use crate::graph::{GraphError, ValueId, Windows};

/// Edge of a patch (px).
const PATCH: usize = 4;

/// Added to the score of a query and a key that were not neighbours before the cyclic shift.
const MASKED: f32 = -100.0;

/// Values of a patch: 4×4 pixels of three colours.
pub const PATCH_VALUES: usize = PATCH * PATCH * 3;

/// Where value `index` of a patch that is stored pixel by pixel (row, column, colour) stands in the order of
/// the projection's weights (colour, row, column).
#[must_use]
pub const fn patch_place(index: usize) -> usize {
    index % 3 * PATCH * PATCH + index / 3
}

/// Rows, columns of the tokens of a stage.
#[must_use]
pub fn token_size(image_size: [usize; 2], stage: usize) -> [usize; 2] {
    image_size.map(|extent| {
        let patches = extent.div_ceil(PATCH);
        (0..stage).fold(patches, |tokens, _| tokens.div_ceil(2))
    })
}

/// One transformer block or its attention.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Prefix of its weights.
    pub name: &'a str,
    /// Token map and windows.
    pub windows: Windows,
    /// Attention heads.
    pub heads: usize,
    /// FFN width.
    pub ffn: usize,
}

/// The backbone below prefix `img_backbone`.
pub(super) fn swin(
    l: &mut Layers<'_>,
    images: ValueId,
    spec: &SwinSpec,
) -> Result<Vec<ValueId>, GraphError> {
    if spec.depths.len() != spec.num_heads.len() || spec.depths.len() < 2 {
        return Err(GraphError::setting(
            "camera.backbone.depths",
            &spec.depths,
            "needs at least two stages and as many entries as num_heads",
        ));
    }
    let (mut x, [mut height, mut width]) = patch_embedding(l, images, spec.embed_dims)?;
    let mut maps = Vec::new();
    let last = spec.depths.len() - 1;
    for (i, (depth, heads)) in spec.depths.iter().zip(&spec.num_heads).enumerate() {
        let stage = format!("img_backbone.stages.{i}");
        let channels = spec.embed_dims << i;
        for j in 0..*depth {
            let block = Block {
                name: &format!("{stage}.blocks.{j}"),
                windows: Windows {
                    height,
                    width,
                    window: spec.window_size,
                    shift: if j % 2 == 1 { spec.window_size / 2 } else { 0 },
                },
                heads: *heads,
                ffn: channels * spec.mlp_ratio,
            };
            x = transformer_block(l, x, &block)?;
            l.graph.name(x, &format!("swin.stage{i}.block{j}"))?;
        }
        if i > 0 {
            let tokens = l.layer_norm(x, &format!("img_backbone.norm{i}"))?;
            let map = as_map(l, tokens, [height, width])?;
            maps.push(l.graph.name(map, &format!("swin.out{}", i - 1))?);
        }
        if i < last {
            x = patch_merging(l, x, [height, width], &format!("{stage}.downsample"))?;
            [height, width] = [height.div_ceil(2), width.div_ceil(2)];
        }
        l.graph.name(x, &format!("swin.stage{i}.down"))?;
    }
    Ok(maps)
}

/// Images → tokens and the extent of their map.
fn patch_embedding(
    l: &mut Layers<'_>,
    images: ValueId,
    channels: usize,
) -> Result<(ValueId, [usize; 2]), GraphError> {
    let &[_, _, height, width] = l.graph.shape(images) else {
        return Err(GraphError::setting(
            "images",
            l.graph.shape(images),
            "expected [N, 3, H, W]",
        ));
    };
    let missing = [height, width].map(|n| n.next_multiple_of(PATCH) - n);
    let padded = match missing {
        [0, 0] => images,
        [rows, columns] => l.graph.pad(images, &[0; 4], &[0, 0, rows, columns])?,
    };
    let projection = Conv {
        name: "img_backbone.patch_embed.projection",
        bias: true,
        norm: None,
        relu: false,
        out: channels,
        kernel: PATCH,
        stride: PATCH,
        padding: 0,
    };
    let map = l.conv(padded, &projection)?;
    let size = [height.div_ceil(PATCH), width.div_ceil(PATCH)];
    let flat = [l.graph.shape(map)[0], channels, size[0] * size[1]];
    let flat = l.graph.reshape(map, &flat)?;
    let tokens = l.graph.transpose(flat, &[0, 2, 1])?;
    let tokens = l.layer_norm(tokens, "img_backbone.patch_embed.norm")?;
    l.graph.name(tokens, "swin.patch_embed")?;
    Ok((tokens, size))
}

/// Tokens `[N, h·w, C]` → map `[N, C, h, w]`.
fn as_map(l: &mut Layers<'_>, x: ValueId, [h, w]: [usize; 2]) -> Result<ValueId, GraphError> {
    let [n, _, channels] = tokens_of(l, x)?;
    let channel_major = l.graph.transpose(x, &[0, 2, 1])?;
    l.graph.reshape(channel_major, &[n, channels, h, w])
}

fn tokens_of(l: &Layers<'_>, x: ValueId) -> Result<[usize; 3], GraphError> {
    let shape = l.graph.shape(x);
    shape.try_into().map_err(|_source| GraphError::Shape {
        op: "transformer block".into(),
        inputs: vec![shape.to_vec()],
        problem: "expected tokens [N, h·w, C]".into(),
    })
}

/// x + attention(LN(x)), then x + FFN(LN(x)).
///
/// # Errors
/// When a weight is missing or does not fit.
pub fn transformer_block(
    l: &mut Layers<'_>,
    x: ValueId,
    block: &Block<'_>,
) -> Result<ValueId, GraphError> {
    let name = block.name;
    let normed = l.layer_norm(x, &format!("{name}.norm1"))?;
    let attention = Block {
        name: &format!("{name}.attn.w_msa"),
        ..*block
    };
    let attended = window_attention(l, normed, &attention)?;
    let x = l.graph.add(x, attended)?;
    let [_, _, channels] = tokens_of(l, x)?;
    let normed = l.layer_norm(x, &format!("{name}.norm2"))?;
    let hidden = l.linear(normed, &format!("{name}.ffn.layers.0.0"), block.ffn, true)?;
    let hidden = l.graph.gelu(hidden)?;
    let out = l.linear(hidden, &format!("{name}.ffn.layers.1"), channels, true)?;
    l.graph.add(x, out)
}

/// Multi-head attention inside (shifted) windows, tokens to tokens. Padded tokens are keys like any
/// other; the projection is per token, so it runs after they are dropped.
///
/// # Errors
/// When a weight is missing or does not fit.
pub fn window_attention(
    l: &mut Layers<'_>,
    x: ValueId,
    block: &Block<'_>,
) -> Result<ValueId, GraphError> {
    let [_, _, channels] = tokens_of(l, x)?;
    if block.heads == 0 || channels % block.heads != 0 {
        return Err(GraphError::setting(
            "camera.backbone.num_heads",
            block.heads,
            &format!("{channels} channels do not divide among the heads"),
        ));
    }
    let cut = l.graph.window_partition(x, block.windows)?;
    let [query, key, value] = query_key_value(l, cut, block, channels)?;
    let scores = l.graph.matmul(query, key)?;
    let weights = biased_softmax(l, scores, block)?;
    let mixed = l.graph.matmul(weights, value)?;
    let mixed = l.graph.transpose(mixed, &[0, 2, 1, 3])?;
    let shape = l.graph.shape(cut).to_vec();
    let mixed = l.graph.reshape(mixed, &shape)?;
    let merged = l.graph.window_merge(mixed, block.windows)?;
    l.linear(merged, &format!("{}.proj", block.name), channels, true)
}

/// Query `[B, heads, w², d]` (scale d^−½ inside its weights), key `[B, heads, d, w²]`, value
/// `[B, heads, w², d]`, B windows of all images.
fn query_key_value(
    l: &mut Layers<'_>,
    cut: ValueId,
    block: &Block<'_>,
    channels: usize,
) -> Result<[ValueId; 3], GraphError> {
    let name = block.name;
    let weight = l.weight(&format!("{name}.qkv.weight"), &[3 * channels, channels])?;
    let bias = l.weight(&format!("{name}.qkv.bias"), &[3 * channels])?;
    let head_dim = channels / block.heads;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let [batch, tokens, _] = tokens_of(l, cut)?;
    let mut part = |index: usize, scale: f64, perm: [usize; 4]| {
        let scaled = |values: &[f32], size: usize| {
            let scaled = widened(&values[index * size..][..size]);
            rounded(&scaled.iter().map(|v| v * scale).collect::<Vec<f64>>())
        };
        let weight = scaled(weight, channels * channels);
        let bias = scaled(bias, channels);
        let y = l.linear_of(cut, &weight, Some(&bias))?;
        let split = [batch, tokens, block.heads, head_dim];
        let y = l.graph.reshape(y, &split)?;
        l.graph.transpose(y, &perm)
    };
    Ok([
        part(0, scale, [0, 2, 1, 3])?,
        part(1, 1.0, [0, 2, 3, 1])?,
        part(2, 1.0, [0, 2, 1, 3])?,
    ])
}

/// softmax(scores + relative position bias + shift mask) over the keys. With a shift the mask depends on
/// the window, so the scores are seen as `[N, windows, heads, w², w²]` for the sum.
fn biased_softmax(
    l: &mut Layers<'_>,
    scores: ValueId,
    block: &Block<'_>,
) -> Result<ValueId, GraphError> {
    let Windows { window, shift, .. } = block.windows;
    let tokens = window * window;
    let side = 2 * window - 1;
    let table = format!("{}.relative_position_bias_table", block.name);
    let table = l.weight(&table, &[side * side, block.heads])?;
    let bias = relative_bias(table, window, block.heads);
    if shift == 0 {
        let bias = l.graph.constant(&[block.heads, tokens, tokens], bias)?;
        let sum = l.graph.add(scores, bias)?;
        return l.graph.softmax(sum, 3);
    }
    let [rows, columns] = block.windows.counts();
    let count = rows * columns;
    let mask = shift_mask(&block.windows);
    let both: Vec<f32> = mask
        .chunks_exact(tokens * tokens)
        .flat_map(|mask| bias.iter().zip(mask.iter().cycle()).map(|(b, m)| b + m))
        .collect();
    let shape = [count, block.heads, tokens, tokens];
    let both = l.graph.constant(&shape, both)?;
    let flat = l.graph.shape(scores).to_vec();
    let images = flat[0] / count;
    let grouped = [images, count, block.heads, tokens, tokens];
    let scores = l.graph.reshape(scores, &grouped)?;
    let sum = l.graph.add(scores, both)?;
    let weights = l.graph.softmax(sum, 4)?;
    l.graph.reshape(weights, &flat)
}

/// Row of the bias table for each query and key of a window, row-major `[w², w²]`:
/// (Δrow + w − 1) · (2w − 1) + Δcolumn + w − 1 with Δ = query − key.
#[must_use]
pub fn relative_position_index(window: usize) -> Vec<usize> {
    let tokens = window * window;
    let position = |token: usize| [token / window, token % window];
    (0..tokens * tokens)
        .map(|pair| {
            let [query, key] = [position(pair / tokens), position(pair % tokens)];
            let delta = [0, 1].map(|axis| query[axis] + window - 1 - key[axis]);
            delta[0] * (2 * window - 1) + delta[1]
        })
        .collect()
}

/// Table `[(2w − 1)², heads]` → `[heads, w², w²]`.
fn relative_bias(table: &[f32], window: usize, heads: usize) -> Vec<f32> {
    let index = relative_position_index(window);
    (0..heads)
        .flat_map(|head| index.iter().map(move |row| table[row * heads + head]))
        .collect()
}

/// `[windows, w², w²]`: [`MASKED`] where query and key come from different sides of the roll.
fn shift_mask(windows: &Windows) -> Vec<f32> {
    let Windows { window, shift, .. } = *windows;
    let [rows, columns] = windows.counts();
    let region = |position: usize, count: usize| {
        let size = count * window;
        usize::from(position >= size - window) + usize::from(position >= size - shift)
    };
    let tokens = window * window;
    let mut mask = Vec::with_capacity(rows * columns * tokens * tokens);
    for index in 0..rows * columns {
        let (row, column) = (index / columns, index % columns);
        let regions: Vec<[usize; 2]> = (0..tokens)
            .map(|token| {
                let y = row * window + token / window;
                let x = column * window + token % window;
                [region(y, rows), region(x, columns)]
            })
            .collect();
        for query in &regions {
            let scores = regions
                .iter()
                .map(|key| if key == query { 0.0 } else { MASKED });
            mask.extend(scores);
        }
    }
    mask
}

/// Tokens `[N, h·w, C]` → `[N, ⌈h/2⌉·⌈w/2⌉, 2C]`: 2×2 neighbours joined, LayerNorm, linear without bias.
///
/// mmdet joins channel-major (feature 4c + 2Δrow + Δcolumn). Here the four pixels stay whole, which is
/// what cutting 2×2 windows gives, and the weights are put into that order instead.
///
/// # Errors
/// When a weight is missing or does not fit.
pub fn patch_merging(
    l: &mut Layers<'_>,
    x: ValueId,
    [height, width]: [usize; 2],
    name: &str,
) -> Result<ValueId, GraphError> {
    let [n, _, channels] = tokens_of(l, x)?;
    let windows = Windows {
        height,
        width,
        window: 2,
        shift: 0,
    };
    let cut = l.graph.window_partition(x, windows)?;
    let [rows, columns] = windows.counts();
    let joined = l.graph.reshape(cut, &[n, rows * columns, 4 * channels])?;
    let pixel_major = |values: &[f32]| {
        let rows = values.chunks_exact(4 * channels);
        rows.flat_map(|row| transposed(row, channels, 4)).collect()
    };
    let scale = pixel_major(l.weight(&format!("{name}.norm.weight"), &[4 * channels])?);
    let bias = pixel_major(l.weight(&format!("{name}.norm.bias"), &[4 * channels])?);
    let normed = l.layer_norm_of(joined, scale, bias)?;
    let shape = [2 * channels, 4 * channels];
    let weight: Vec<f32> = pixel_major(l.weight(&format!("{name}.reduction.weight"), &shape)?);
    l.linear_of(normed, &weight, None)
}

#[cfg(test)]
mod tests {
    use super::{relative_position_index, shift_mask};
    use crate::graph::Windows;

    #[test]
    fn the_relative_index_of_a_token_with_itself_is_the_middle_of_the_table() {
        let index = relative_position_index(7);
        assert!((0..49).all(|token| index[token * 50] == 84));
        assert_eq!((index[1], index[49]), (83, 85));
        assert_eq!(index[7], 84 - 13);
    }

    #[test]
    fn the_mask_separates_what_the_roll_brought_together() {
        let mask = shift_mask(&Windows {
            height: 10,
            width: 13,
            window: 7,
            shift: 3,
        });
        let masked = |window: usize, query: usize, key: usize| {
            mask[(window * 49 + query) * 49 + key] < -99.0
        };
        assert!((0..49).all(|query| (0..49).all(|key| !masked(0, query, key))));
        // The last window: rows and columns 4, 5, 6 came from the other side.
        assert!(!masked(3, 0, 3) && masked(3, 0, 4) && !masked(3, 4, 6));
        assert!(!masked(3, 0, 21) && masked(3, 0, 28));
        // A window on the right edge is cut by columns only.
        assert!(!masked(1, 0, 42) && masked(1, 0, 4));
    }
}
