//! Each op in terms of ONNX opset 17.

use super::Writer;
use crate::graph::ir::{Node, Op, Windows};
use crate::graph::onnx_proto::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, ATTRIBUTE_STRING, AttributeProto, TENSOR_FLOAT,
};

impl Writer<'_> {
    /// Appends the ONNX nodes of one node.
    pub(super) fn lower(&mut self, node: &Node) {
        let inputs: Vec<String> = (node.inputs.iter())
            .map(|id| self.name(*id).to_owned())
            .collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = self.name(node.outputs[0]).to_owned();
        let x = inputs[0];
        match &node.op {
            Op::Reshape => {
                let shape = signed(&self.graph.value(node.outputs[0]).shape);
                self.reshape(x, &shape, &output);
            }
            Op::Transpose { perm } => self.transpose(x, perm, &output),
            Op::Slice { axis, start, end } => self.slice(x, *axis, [*start, *end], &output),
            Op::Pad { before, after } => self.pad(x, before, after, &output),
            Op::Gelu => self.gelu(x, &output),
            Op::Resize { size } => {
                let value = self.graph.value(node.outputs[0]);
                let sizes = [value.shape[0], value.shape[1], size[0], size[1]];
                let sizes = self.integers(&signed(&sizes));
                let attributes = vec![
                    text("mode", "linear"),
                    text("coordinate_transformation_mode", "half_pixel"),
                ];
                self.push("Resize", &[x, "", "", &sizes], &output, attributes);
            }
            Op::TopK { k } => {
                let indices = self.name(node.outputs[1]).to_owned();
                let k = self.integers(&[*k as i64]);
                let attributes = vec![int("axis", 0), int("largest", 1), int("sorted", 1)];
                self.push_many("TopK", &[x, &k], &[&output, &indices], attributes);
            }
            Op::Equal => {
                let same = format!("{output}/same");
                self.push("Equal", &inputs, &same, Vec::new());
                let to = int("to", TENSOR_FLOAT.into());
                self.push("Cast", &[&same], &output, vec![to]);
            }
            Op::WindowPartition(windows) => {
                let [n, _, channels] = token_shape(&self.graph.value(node.inputs[0]).shape);
                self.partition(x, windows, [n, channels], &output);
            }
            Op::WindowMerge(windows) => {
                let [n, _, channels] = token_shape(&self.graph.value(node.outputs[0]).shape);
                self.merge(x, windows, [n, channels], &output);
            }
            other => {
                let (op, attributes) = direct(other);
                self.push(op, &inputs, &output, attributes);
            }
        }
    }

    fn reshape(&mut self, x: &str, shape: &[i64], output: &str) {
        let shape = self.integers(shape);
        self.push("Reshape", &[x, &shape], output, Vec::new());
    }

    fn transpose(&mut self, x: &str, perm: &[usize], output: &str) {
        self.push("Transpose", &[x], output, vec![ints("perm", perm)]);
    }

    fn slice(&mut self, x: &str, axis: usize, range: [usize; 2], output: &str) {
        let [start, end] = range.map(|bound| self.integers(&[bound as i64]));
        let axis = self.integers(&[axis as i64]);
        self.push("Slice", &[x, &start, &end, &axis], output, Vec::new());
    }

    fn pad(&mut self, x: &str, before: &[usize], after: &[usize], output: &str) {
        let pads = self.integers(&signed(&[before, after].concat()));
        self.push("Pad", &[x, &pads], output, Vec::new());
    }

    /// x · (erf(x / √2) + 1) · ½, in the order that executors recognise.
    fn gelu(&mut self, x: &str, output: &str) {
        let root = self.scalar("sqrt2", std::f32::consts::SQRT_2);
        let one = self.scalar("one", 1.0);
        let half = self.scalar("half", 0.5);
        let step = |name: &str| format!("{output}/{name}");
        let (scaled, erf, sum, product) =
            (step("scaled"), step("erf"), step("sum"), step("product"));
        self.push("Div", &[x, &root], &scaled, Vec::new());
        self.push("Erf", &[&scaled], &erf, Vec::new());
        self.push("Add", &[&erf, &one], &sum, Vec::new());
        self.push("Mul", &[x, &sum], &product, Vec::new());
        self.push("Mul", &[&product, &half], output, Vec::new());
    }

    fn partition(&mut self, x: &str, windows: &Windows, [n, channels]: [usize; 2], output: &str) {
        let Windows {
            height,
            width,
            window,
            shift,
        } = *windows;
        let [rows, columns] = windows.counts();
        let padding = [rows * window - height, columns * window - width];
        let step = |name: &str| format!("{output}/{name}");
        let mut current = step("map");
        self.reshape(x, &signed(&[n, height, width, channels]), &current);
        if padding != [0, 0] {
            let padded = step("padded");
            let after = [0, padding[0], padding[1], 0];
            self.pad(&current, &[0; 4], &after, &padded);
            current = padded;
        }
        if shift > 0 {
            for (axis, count) in [(1, rows), (2, columns)] {
                current = self.roll(&current, axis, shift, count * window, output);
            }
        }
        let (cut, grouped) = (step("cut"), step("grouped"));
        let split = [n, rows, window, columns, window, channels];
        self.reshape(&current, &signed(&split), &cut);
        self.transpose(&cut, &[0, 1, 3, 2, 4, 5], &grouped);
        let joined = [n * rows * columns, window * window, channels];
        self.reshape(&grouped, &signed(&joined), output);
    }

    fn merge(&mut self, x: &str, windows: &Windows, [n, channels]: [usize; 2], output: &str) {
        let Windows {
            height,
            width,
            window,
            shift,
        } = *windows;
        let [rows, columns] = windows.counts();
        let size = [rows * window, columns * window];
        let step = |name: &str| format!("{output}/{name}");
        let (cut, grouped) = (step("cut"), step("grouped"));
        let split = [n, rows, columns, window, window, channels];
        self.reshape(x, &signed(&split), &cut);
        self.transpose(&cut, &[0, 1, 3, 2, 4, 5], &grouped);
        let mut current = step("map");
        self.reshape(
            &grouped,
            &signed(&[n, size[0], size[1], channels]),
            &current,
        );
        for (axis, kept) in [(1, height), (2, width)] {
            if shift > 0 {
                let back = size[axis - 1] - shift;
                current = self.roll(&current, axis, back, size[axis - 1], output);
            }
            if kept < size[axis - 1] {
                let cropped = step(&format!("cropped{axis}"));
                self.slice(&current, axis, [0, kept], &cropped);
                current = cropped;
            }
        }
        self.reshape(&current, &signed(&[n, height * width, channels]), output);
    }

    /// Rolls one axis by −shift: what was at `shift` comes first.
    fn roll(&mut self, x: &str, axis: usize, shift: usize, size: usize, output: &str) -> String {
        let step = |name: &str| format!("{output}/{name}{axis}");
        let (head, tail, rolled) = (step("head"), step("tail"), step("rolled"));
        self.slice(x, axis, [shift, size], &head);
        self.slice(x, axis, [0, shift], &tail);
        let axis = vec![int("axis", axis as i64)];
        self.push("Concat", &[&head, &tail], &rolled, axis);
        rolled
    }
}

/// Ops that are one ONNX node with the same inputs.
fn direct(op: &Op) -> (&'static str, Vec<AttributeProto>) {
    match op {
        Op::Conv2d { stride, padding } => ("Conv", convolution(*stride, *padding)),
        Op::ConvTranspose2d { stride } => ("ConvTranspose", convolution(*stride, [0; 2])),
        Op::MaxPool2d { kernel, padding } => (
            "MaxPool",
            vec![
                ints("kernel_shape", &[*kernel; 2]),
                ints("strides", &[1; 2]),
                ints("pads", &[*padding; 4]),
            ],
        ),
        Op::MatMul => ("MatMul", Vec::new()),
        Op::Add => ("Add", Vec::new()),
        Op::Sub => ("Sub", Vec::new()),
        Op::Mul => ("Mul", Vec::new()),
        Op::Div => ("Div", Vec::new()),
        Op::Relu => ("Relu", Vec::new()),
        Op::Sigmoid => ("Sigmoid", Vec::new()),
        Op::Softmax { axis } => ("Softmax", vec![int("axis", *axis as i64)]),
        Op::Concat { axis } => ("Concat", vec![int("axis", *axis as i64)]),
        Op::Gather { axis } => ("Gather", vec![int("axis", *axis as i64)]),
        Op::LayerNorm { eps } => (
            "LayerNormalization",
            vec![int("axis", -1), float("epsilon", *eps)],
        ),
        Op::Gelu
        | Op::Resize { .. }
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::TopK { .. }
        | Op::Equal
        | Op::WindowPartition(_)
        | Op::WindowMerge(_) => ("Identity", Vec::new()),
    }
}

fn convolution(stride: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<AttributeProto> {
    vec![
        ints("strides", &stride),
        ints("pads", &[rows, columns, rows, columns]),
        ints("dilations", &[1; 2]),
        int("group", 1),
    ]
}

fn token_shape(shape: &[usize]) -> [usize; 3] {
    shape.try_into().unwrap_or([0; 3])
}

fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|v| *v as i64).collect()
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, ATTRIBUTE_INT)
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, ATTRIBUTE_FLOAT)
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(value.into()),
        ..attribute(name, ATTRIBUTE_STRING)
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: signed(values),
        ..attribute(name, ATTRIBUTE_INTS)
    }
}
