//! The intermediate form of a dense network: values with fixed shapes and nodes in execution order.
//!
//! Tensors are row-major. Activations are float32 (an engine may run them in half precision), indices
//! int64. A node's inputs are made by earlier nodes, so that a walk over [`Graph::nodes`] is an
//! execution. Engines run only what the outputs need: see [`Graph::live_nodes`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::GraphError;

/// Element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// float32.
    F32,
    /// int64.
    I64,
}

/// Values of a constant, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// float32.
    F32(Arc<[f32]>),
    /// int64.
    I64(Arc<[i64]>),
}

/// Index into [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A tensor that flows through a graph or is stored in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Extents.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Contents of a constant.
    pub constant: Option<Data>,
}

impl Value {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a node computes. Inputs are named in the order in which [`Node::inputs`] has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// x `[N, C, H, W]`, weight `[O, C, kh, kw]`, optional bias `[O]`; cross-correlation, zero padding.
    Conv2d {
        /// Rows, columns.
        stride: [usize; 2],
        /// Rows, columns, on both sides.
        padding: [usize; 2],
    },
    /// x `[N, C, H, W]`, weight `[C, O, kh, kw]`, optional bias `[O]`; no padding.
    ConvTranspose2d {
        /// Rows, columns.
        stride: [usize; 2],
    },
    /// a `[.., M, K]`, b `[.., K, N]`; leading axes broadcast.
    MatMul,
    /// a + b, broadcast.
    Add,
    /// a − b, broadcast.
    Sub,
    /// a · b, broadcast.
    Mul,
    /// a / b, broadcast; integers truncate.
    Div,
    /// max(x, 0).
    Relu,
    /// x · Φ(x), the form with erf.
    Gelu,
    /// 1 / (1 + exp(−x)).
    Sigmoid,
    /// exp(x) over its sum along the axis.
    Softmax {
        /// Axis.
        axis: usize,
    },
    /// x, scale, bias over the last axis.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Any number of values, joined.
    Concat {
        /// Axis.
        axis: usize,
    },
    /// Bilinear with pixel centres at half integers (`align_corners = false`), no antialiasing.
    Resize {
        /// Rows, columns of the result.
        size: [usize; 2],
    },
    /// The same values in the output's shape.
    Reshape,
    /// Axis i of the result is axis `perm[i]` of x.
    Transpose {
        /// Permutation.
        perm: Vec<usize>,
    },
    /// `start..end` of one axis.
    Slice {
        /// Axis.
        axis: usize,
        /// First index.
        start: usize,
        /// One past the last index.
        end: usize,
    },
    /// Zeros around x.
    Pad {
        /// Before each axis.
        before: Vec<usize>,
        /// After each axis.
        after: Vec<usize>,
    },
    /// Stride 1; cells outside x do not take part.
    MaxPool2d {
        /// Window edge.
        kernel: usize,
        /// Rows and columns added on every side.
        padding: usize,
    },
    /// x `[n]` → the k largest, descending, and their int64 indices; among equals the lower index is first.
    TopK {
        /// How many.
        k: usize,
    },
    /// x, int64 indices `[n]`: picks entries of one axis; every index is in range.
    Gather {
        /// Axis.
        axis: usize,
    },
    /// 1 where a = b, else 0; float32, no broadcast.
    Equal,
    /// Tokens `[N, H·W, C]` → windows `[N·nW, w², C]`: zero rows and columns at the bottom and right up to
    /// multiples of the window, then a cyclic roll by −shift, then cut, row-major.
    WindowPartition(Windows),
    /// The inverse: windows → tokens `[N, H·W, C]`, rolled back by +shift, padding dropped.
    WindowMerge(Windows),
}

/// How a token map is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Token rows.
    pub height: usize,
    /// Token columns.
    pub width: usize,
    /// Window edge.
    pub window: usize,
    /// Cyclic shift toward the top left.
    pub shift: usize,
}

impl Windows {
    /// Windows along rows and columns.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        let edge = self.window.max(1);
        [self.height.div_ceil(edge), self.width.div_ceil(edge)]
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it makes.
    pub outputs: Vec<ValueId>,
}

/// A value that the caller gives or receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name at the interface.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// A dense network. Made by a [`GraphBuilder`](super::GraphBuilder).
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name, for example `camera_backbone`.
    pub name: String,
    /// One paragraph for whoever opens the exported file: inputs, outputs, units.
    pub description: String,
    /// Inputs in the order of [`Network::run`](crate::engine::Network::run); all float32.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Values that can be asked for by name: inputs and the stages on the way.
    pub names: BTreeMap<String, ValueId>,
    /// Every value.
    pub values: Vec<Value>,
    /// Every step, in execution order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The value behind an id of this graph.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The value of this name, an output's name included.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<ValueId, GraphError> {
        let output = || {
            self.outputs
                .iter()
                .find(|port| port.name == name)
                .map(|port| port.value)
        };
        let found = self.names.get(name).copied().or_else(output);
        found.ok_or_else(|| GraphError::UnknownName {
            graph: self.name.clone(),
            name: name.into(),
            known: self.names.keys().cloned().collect(),
        })
    }

    /// The same graph with exactly these named values as outputs: how a test looks inside.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn with_outputs(&self, names: &[&str]) -> Result<Self, GraphError> {
        let outputs: Result<Vec<Port>, GraphError> = names
            .iter()
            .map(|name| {
                let value = self.find(name)?;
                let name = (*name).to_owned();
                Ok(Port { name, value })
            })
            .collect();
        Ok(Self {
            outputs: outputs?,
            ..self.clone()
        })
    }

    /// Which nodes the outputs depend on, one flag per node.
    #[must_use]
    pub fn live_nodes(&self) -> Vec<bool> {
        let mut wanted = vec![false; self.values.len()];
        for output in &self.outputs {
            wanted[output.value.0] = true;
        }
        let mut live = vec![false; self.nodes.len()];
        for (node, alive) in self.nodes.iter().zip(&mut live).rev() {
            *alive = node.outputs.iter().any(|id| wanted[id.0]);
            if *alive {
                for id in &node.inputs {
                    wanted[id.0] = true;
                }
            }
        }
        live
    }
}
