//! Shapes and element types of an op's outputs, or why it does not fit its inputs.

use super::error::GraphError;
use super::ir::{DType, Op, Value, Windows};

/// Extents and element type of one output.
pub(super) type Inferred = (Vec<usize>, DType);

/// Elements that one value may have: more is a mistake in a model description, not a network.
const MAX_ELEMENTS: usize = 1 << 36;

/// Outputs of `op` on `inputs`. For [`Op::Reshape`] the wanted shape is `reshape`.
pub(super) fn infer(
    op: &Op,
    inputs: &[&Value],
    reshape: &[usize],
) -> Result<Vec<Inferred>, GraphError> {
    let fail = |problem: String| GraphError::Shape {
        op: format!("{op:?}"),
        inputs: inputs.iter().map(|v| v.shape.clone()).collect(),
        problem,
    };
    check_inputs(op, inputs).map_err(fail)?;
    let outputs = outputs(op, inputs, reshape).map_err(fail)?;
    for (shape, _) in &outputs {
        check_size(shape).map_err(fail)?;
    }
    Ok(outputs)
}

/// Every extent is at least 1 and the product is sane.
pub(super) fn check_size(shape: &[usize]) -> Result<(), String> {
    let elements = shape
        .iter()
        .try_fold(1_usize, |product, n| product.checked_mul(*n));
    match elements {
        Some(1..=MAX_ELEMENTS) => Ok(()),
        _ => Err(format!("the result would be {shape:?}")),
    }
}

fn check_inputs(op: &Op, inputs: &[&Value]) -> Result<(), String> {
    let (least, most) = match op {
        Op::Conv2d { .. } | Op::ConvTranspose2d { .. } => (2, 3),
        Op::LayerNorm { .. } => (3, 3),
        Op::Concat { .. } => (1, usize::MAX),
        Op::MatMul | Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Gather { .. } | Op::Equal => {
            (2, 2)
        }
        _ => (1, 1),
    };
    if inputs.len() < least || inputs.len() > most {
        return Err(format!(
            "{} inputs, expected {least} to {most}",
            inputs.len()
        ));
    }
    let integers = match op {
        Op::Gather { .. } => return expect_gather_types(inputs),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Equal | Op::Concat { .. } => {
            inputs.iter().all(|v| v.dtype == DType::I64)
        }
        Op::Reshape | Op::Slice { .. } => inputs[0].dtype == DType::I64,
        _ => false,
    };
    let wanted = if integers { DType::I64 } else { DType::F32 };
    match inputs.iter().find(|v| v.dtype != wanted) {
        Some(other) => Err(format!(
            "an input is {:?}, expected {wanted:?}",
            other.dtype
        )),
        None => Ok(()),
    }
}

fn expect_gather_types(inputs: &[&Value]) -> Result<(), String> {
    if inputs[1].dtype == DType::I64 && inputs[1].shape.len() == 1 {
        Ok(())
    } else {
        Err("indices must be int64 with one axis".into())
    }
}

fn outputs(op: &Op, inputs: &[&Value], reshape: &[usize]) -> Result<Vec<Inferred>, String> {
    let x = inputs[0].shape.as_slice();
    let second = || inputs[1].shape.as_slice();
    let shape = match op {
        Op::Conv2d { stride, padding } => conv2d(inputs, *stride, *padding)?,
        Op::ConvTranspose2d { stride } => conv_transpose2d(inputs, *stride)?,
        Op::MatMul => matmul(x, second())?,
        Op::Add | Op::Sub | Op::Mul | Op::Div => broadcast(x, second())?,
        Op::Relu | Op::Gelu | Op::Sigmoid => x.to_vec(),
        Op::Softmax { axis } => extent(x, *axis).map(|_| x.to_vec())?,
        Op::LayerNorm { .. } => layer_norm(inputs)?,
        Op::Concat { axis } => concat(inputs, *axis)?,
        Op::Resize { size } => {
            let [n, c, _, _] = four(x)?;
            vec![n, c, size[0], size[1]]
        }
        Op::Reshape => same_count(x, reshape)?,
        Op::Transpose { perm } => transpose(x, perm)?,
        Op::Slice { axis, start, end } => slice(x, *axis, *start, *end)?,
        Op::Pad { before, after } => pad(x, before, after)?,
        Op::MaxPool2d { kernel, padding } => max_pool(x, *kernel, *padding)?,
        Op::TopK { k } => {
            let k = top_k(x, *k)?;
            return Ok(vec![(vec![k], DType::F32), (vec![k], DType::I64)]);
        }
        Op::Gather { axis } => replace(x, *axis, second()[0])?,
        Op::Equal => return equal(x, second()).map(|shape| vec![(shape, DType::F32)]),
        Op::WindowPartition(windows) => partition(x, windows)?,
        Op::WindowMerge(windows) => merge(x, windows)?,
    };
    Ok(vec![(shape, inputs[0].dtype)])
}

fn four(x: &[usize]) -> Result<[usize; 4], String> {
    x.try_into()
        .map_err(|_source| format!("{x:?} does not have the four axes N, C, H, W"))
}

fn extent(x: &[usize], axis: usize) -> Result<usize, String> {
    x.get(axis)
        .copied()
        .ok_or_else(|| format!("{x:?} has no axis {axis}"))
}

fn replace(x: &[usize], axis: usize, size: usize) -> Result<Vec<usize>, String> {
    extent(x, axis)?;
    let mut shape = x.to_vec();
    shape[axis] = size;
    Ok(shape)
}

/// floor((n + 2·padding − kernel) / stride) + 1.
fn window_count(n: usize, kernel: usize, stride: usize, padding: usize) -> Result<usize, String> {
    let room = (2_usize.checked_mul(padding))
        .and_then(|p| p.checked_add(n))
        .and_then(|padded| padded.checked_sub(kernel));
    match room {
        Some(room) if stride > 0 && kernel > 0 => Ok(room / stride + 1),
        _ => Err(format!(
            "window {kernel}, stride {stride}, padding {padding} does not fit extent {n}"
        )),
    }
}

fn conv2d(inputs: &[&Value], stride: [usize; 2], pad: [usize; 2]) -> Result<Vec<usize>, String> {
    let [n, c, h, w] = four(&inputs[0].shape)?;
    let [out, weight_in, kh, kw] = four(&inputs[1].shape)?;
    if weight_in != c {
        return Err(format!("the weight has {weight_in} input channels"));
    }
    bias(inputs.get(2), out)?;
    Ok(vec![
        n,
        out,
        window_count(h, kh, stride[0], pad[0])?,
        window_count(w, kw, stride[1], pad[1])?,
    ])
}

fn conv_transpose2d(inputs: &[&Value], stride: [usize; 2]) -> Result<Vec<usize>, String> {
    let [n, c, h, w] = four(&inputs[0].shape)?;
    let [weight_in, out, kh, kw] = four(&inputs[1].shape)?;
    if weight_in != c {
        return Err(format!("the weight has {weight_in} input channels"));
    }
    bias(inputs.get(2), out)?;
    let size = |n: usize, stride: usize, kernel: usize| {
        (n.saturating_sub(1))
            .saturating_mul(stride)
            .saturating_add(kernel)
    };
    Ok(vec![n, out, size(h, stride[0], kh), size(w, stride[1], kw)])
}

fn bias(value: Option<&&Value>, out: usize) -> Result<(), String> {
    match value {
        Some(bias) if bias.shape != [out] => Err(format!("the bias must be [{out}]")),
        _ => Ok(()),
    }
}

fn matmul(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let (Some((a_batch, [m, k])), Some((b_batch, [k2, n]))) =
        (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
    else {
        return Err("both need at least two axes".into());
    };
    if k != k2 {
        return Err(format!("inner extents {k} and {k2} differ"));
    }
    let mut shape = broadcast(a_batch, b_batch)?;
    shape.extend([*m, *n]);
    Ok(shape)
}

fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len())
            .checked_sub(rank)
            .map_or(1, |position| shape[position])
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, n) | (n, 1) => Ok(n),
            (n, m) if n == m => Ok(n),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

fn equal(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    if a == b {
        Ok(a.to_vec())
    } else {
        Err(format!("{a:?} and {b:?} differ"))
    }
}

fn layer_norm(inputs: &[&Value]) -> Result<Vec<usize>, String> {
    let x = &inputs[0].shape;
    let last = x.last().copied().unwrap_or(0);
    if inputs[1].shape != [last] || inputs[2].shape != [last] {
        return Err(format!("scale and bias must be [{last}]"));
    }
    Ok(x.clone())
}

fn concat(inputs: &[&Value], axis: usize) -> Result<Vec<usize>, String> {
    let first = inputs[0].shape.as_slice();
    let mut total = 0_usize;
    for value in inputs {
        let along = extent(&value.shape, axis)?;
        if replace(&value.shape, axis, 0)? != replace(first, axis, 0)? {
            return Err(format!("extents besides axis {axis} differ"));
        }
        total = total.saturating_add(along);
    }
    replace(first, axis, total)
}

fn same_count(x: &[usize], wanted: &[usize]) -> Result<Vec<usize>, String> {
    check_size(wanted)?;
    if x.iter().product::<usize>() != wanted.iter().product::<usize>() {
        return Err(format!("{wanted:?} has another number of elements"));
    }
    Ok(wanted.to_vec())
}

fn transpose(x: &[usize], perm: &[usize]) -> Result<Vec<usize>, String> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.len()) {
        return Err(format!("{perm:?} is not a permutation of {} axes", x.len()));
    }
    Ok(perm.iter().map(|axis| x[*axis]).collect())
}

fn slice(x: &[usize], axis: usize, start: usize, end: usize) -> Result<Vec<usize>, String> {
    let size = extent(x, axis)?;
    if start >= end || end > size {
        return Err(format!("{start}..{end} is not a range of extent {size}"));
    }
    replace(x, axis, end - start)
}

fn pad(x: &[usize], before: &[usize], after: &[usize]) -> Result<Vec<usize>, String> {
    if before.len() != x.len() || after.len() != x.len() {
        return Err(format!("padding must name {} axes", x.len()));
    }
    let sums = x.iter().zip(before).zip(after);
    Ok(sums
        .map(|((n, b), a)| n.saturating_add(*b).saturating_add(*a))
        .collect())
}

fn max_pool(x: &[usize], kernel: usize, padding: usize) -> Result<Vec<usize>, String> {
    let [n, c, h, w] = four(x)?;
    if padding >= kernel {
        return Err("a window would lie wholly in the padding".into());
    }
    let rows = window_count(h, kernel, 1, padding)?;
    Ok(vec![n, c, rows, window_count(w, kernel, 1, padding)?])
}

fn top_k(x: &[usize], k: usize) -> Result<usize, String> {
    match x {
        [n] if k <= *n => Ok(k),
        [n] => Err(format!("{k} of {n} values")),
        _ => Err("expected one axis".into()),
    }
}

fn partition(x: &[usize], windows: &Windows) -> Result<Vec<usize>, String> {
    let area = window_area(windows)?;
    let &[n, tokens, channels] = x else {
        return Err("expected [N, tokens, channels]".into());
    };
    if Some(tokens) != windows.height.checked_mul(windows.width) {
        return Err(format!("{tokens} tokens are not height × width"));
    }
    let [rows, columns] = windows.counts();
    Ok(vec![n.saturating_mul(rows * columns), area, channels])
}

fn merge(x: &[usize], windows: &Windows) -> Result<Vec<usize>, String> {
    let area = window_area(windows)?;
    let [rows, columns] = windows.counts();
    match x {
        &[count, tokens, channels]
            if tokens == area && count.is_multiple_of((rows * columns).max(1)) =>
        {
            let n = count / (rows * columns).max(1);
            Ok(vec![n, windows.height * windows.width, channels])
        }
        _ => Err("expected [N · windows, window², channels]".into()),
    }
}

fn window_area(windows: &Windows) -> Result<usize, String> {
    let Windows {
        height,
        width,
        window,
        shift,
    } = *windows;
    check_size(&[height, width, window, window])?;
    if shift >= window {
        return Err(format!("shift {shift} is not below the window {window}"));
    }
    Ok(window * window)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::infer;
    use crate::graph::{DType, Op, Value, Windows};

    fn value(shape: &[usize]) -> Value {
        Value {
            shape: shape.to_vec(),
            dtype: DType::F32,
            constant: None,
        }
    }

    fn shape_of(op: &Op, inputs: &[&[usize]]) -> Option<Vec<usize>> {
        let values: Vec<Value> = inputs.iter().map(|shape| value(shape)).collect();
        let references: Vec<&Value> = values.iter().collect();
        let outputs = infer(op, &references, &[]).ok()?;
        Some(outputs[0].0.clone())
    }

    #[test]
    fn shapes_follow_the_definitions() {
        let conv = Op::Conv2d {
            stride: [2, 2],
            padding: [1, 1],
        };
        assert_eq!(
            shape_of(&conv, &[&[1, 3, 7, 8], &[5, 3, 3, 3], &[5]]),
            Some(vec![1, 5, 4, 4])
        );
        assert_eq!(shape_of(&conv, &[&[1, 3, 7, 8], &[5, 4, 3, 3]]), None);
        let deconv = Op::ConvTranspose2d { stride: [2, 2] };
        assert_eq!(
            shape_of(&deconv, &[&[1, 3, 4, 5], &[3, 6, 2, 2]]),
            Some(vec![1, 6, 8, 10])
        );
        assert_eq!(
            shape_of(&Op::MatMul, &[&[4, 1, 2, 3], &[5, 3, 7]]),
            Some(vec![4, 5, 2, 7])
        );
        assert_eq!(shape_of(&Op::MatMul, &[&[2, 3], &[2, 3]]), None);
        assert_eq!(shape_of(&Op::Add, &[&[4, 3], &[3]]), Some(vec![4, 3]));
        assert_eq!(shape_of(&Op::Add, &[&[4, 3], &[4]]), None);
        let windows = Windows {
            height: 10,
            width: 13,
            window: 7,
            shift: 3,
        };
        let cut = Op::WindowPartition(windows);
        assert_eq!(shape_of(&cut, &[&[2, 130, 8]]), Some(vec![8, 49, 8]));
        let join = Op::WindowMerge(windows);
        assert_eq!(shape_of(&join, &[&[8, 49, 8]]), Some(vec![2, 130, 8]));
    }

    fn any_extent() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..5, Just(7), any::<usize>()]
    }

    fn any_shape() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(0_usize..6, 0..5)
    }

    fn any_op() -> impl Strategy<Value = Op> {
        (0_usize..14, any_extent(), any_extent(), any_extent()).prop_map(|(kind, a, b, c)| {
            let windows = Windows {
                height: a,
                width: b,
                window: c,
                shift: a / 2,
            };
            match kind {
                0 => Op::Conv2d {
                    stride: [a, b],
                    padding: [c, a],
                },
                1 => Op::ConvTranspose2d { stride: [a, b] },
                2 => Op::MatMul,
                3 => Op::Add,
                4 => Op::Softmax { axis: a },
                5 => Op::LayerNorm { eps: 1e-5 },
                6 => Op::Concat { axis: a },
                7 => Op::Resize { size: [a, b] },
                8 => Op::Reshape,
                9 => Op::Slice {
                    axis: a,
                    start: b,
                    end: c,
                },
                10 => Op::MaxPool2d {
                    kernel: a,
                    padding: b,
                },
                11 => Op::TopK { k: a },
                12 => Op::WindowPartition(windows),
                _ => Op::WindowMerge(windows),
            }
        })
    }

    proptest! {
        #[test]
        fn no_op_panics_whatever_its_attributes_and_inputs(
            op in any_op(),
            inputs in proptest::collection::vec(any_shape(), 0..4),
            wanted in any_shape(),
        ) {
            let values: Vec<Value> = inputs.iter().map(|shape| value(shape)).collect();
            let references: Vec<&Value> = values.iter().collect();
            if let Ok(outputs) = infer(&op, &references, &wanted) {
                assert!(outputs.iter().all(|(shape, _)| shape.iter().all(|n| *n > 0)));
            }
        }
    }
}
