//! Builds a [`Graph`]: one method per op, each returning the new value or why it cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::GraphError;
use super::infer::{check_size, infer};
use super::ir::{DType, Data, Graph, Node, Op, Port, Value, ValueId, Windows};

/// Collects values and nodes. An id belongs to the builder that gave it.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An empty graph. `description` is for whoever opens the exported file.
    #[must_use]
    pub fn new(name: &str, description: &str) -> Self {
        Self {
            graph: Graph {
                name: name.into(),
                description: description.into(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                values: Vec::new(),
                nodes: Vec::new(),
                names: BTreeMap::new(),
            },
        }
    }

    /// Extents of a value.
    #[must_use]
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.graph.value(value).shape
    }

    /// A float32 input.
    ///
    /// # Errors
    /// When the name is taken or an extent is zero.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<ValueId, GraphError> {
        check_size(shape).map_err(|problem| GraphError::Shape {
            op: format!("input {name:?}"),
            inputs: Vec::new(),
            problem,
        })?;
        let id = self.push(shape.to_vec(), DType::F32, None);
        self.name(id, name)?;
        let name = name.to_owned();
        self.graph.inputs.push(Port { name, value: id });
        Ok(id)
    }

    /// A float32 constant.
    ///
    /// # Errors
    /// When the number of values does not fit the shape.
    pub fn constant(
        &mut self,
        shape: &[usize],
        values: impl Into<Arc<[f32]>>,
    ) -> Result<ValueId, GraphError> {
        let values = values.into();
        check_count(shape, values.len())?;
        Ok(self.push(shape.to_vec(), DType::F32, Some(Data::F32(values))))
    }

    /// An int64 constant.
    ///
    /// # Errors
    /// When the number of values does not fit the shape.
    pub fn constant_i64(
        &mut self,
        shape: &[usize],
        values: impl Into<Arc<[i64]>>,
    ) -> Result<ValueId, GraphError> {
        let values = values.into();
        check_count(shape, values.len())?;
        Ok(self.push(shape.to_vec(), DType::I64, Some(Data::I64(values))))
    }

    /// Names a value, so that [`Graph::with_outputs`] finds it; it may have several. Returns the value.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn name(&mut self, value: ValueId, name: &str) -> Result<ValueId, GraphError> {
        match self.graph.names.insert(name.into(), value) {
            None => Ok(value),
            Some(_) => Err(self.duplicate(name)),
        }
    }

    /// The finished graph with these outputs.
    ///
    /// # Errors
    /// When two outputs have the same name.
    pub fn finish(mut self, outputs: &[(&str, ValueId)]) -> Result<Graph, GraphError> {
        let mut seen = BTreeSet::new();
        for (name, value) in outputs {
            if !seen.insert(*name) {
                return Err(self.duplicate(name));
            }
            let name = (*name).to_owned();
            let value = *value;
            self.graph.outputs.push(Port { name, value });
        }
        Ok(self.graph)
    }

    fn duplicate(&self, name: &str) -> GraphError {
        GraphError::DuplicateName {
            graph: self.graph.name.clone(),
            name: name.into(),
        }
    }

    fn push(&mut self, shape: Vec<usize>, dtype: DType, constant: Option<Data>) -> ValueId {
        let id = ValueId(self.graph.values.len());
        self.graph.values.push(Value {
            shape,
            dtype,
            constant,
        });
        id
    }

    fn node(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        reshape: &[usize],
    ) -> Result<Vec<ValueId>, GraphError> {
        let values: Vec<&Value> = inputs.iter().map(|id| self.graph.value(*id)).collect();
        let inferred = infer(&op, &values, reshape)?;
        let outputs: Vec<ValueId> = inferred
            .into_iter()
            .map(|(shape, dtype)| self.push(shape, dtype, None))
            .collect();
        self.graph.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    fn one(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        Ok(self.node(op, inputs, &[])?[0])
    }
}

/// The ops. Each fails when its inputs do not fit; see [`Op`] for what each computes.
impl GraphBuilder {
    /// [`Op::Conv2d`] with a square stride and padding.
    pub fn conv2d(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        stride: usize,
        padding: usize,
    ) -> Result<ValueId, GraphError> {
        let op = Op::Conv2d {
            stride: [stride; 2],
            padding: [padding; 2],
        };
        let inputs: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
        self.one(op, &inputs)
    }

    /// [`Op::ConvTranspose2d`] with a square stride.
    pub fn conv_transpose2d(
        &mut self,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        stride: usize,
    ) -> Result<ValueId, GraphError> {
        let op = Op::ConvTranspose2d {
            stride: [stride; 2],
        };
        let inputs: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
        self.one(op, &inputs)
    }

    /// [`Op::MatMul`].
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::MatMul, &[a, b])
    }

    /// [`Op::Add`].
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Add, &[a, b])
    }

    /// [`Op::Sub`].
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Sub, &[a, b])
    }

    /// [`Op::Mul`].
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Mul, &[a, b])
    }

    /// [`Op::Div`].
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Div, &[a, b])
    }

    /// [`Op::Relu`].
    pub fn relu(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Relu, &[x])
    }

    /// [`Op::Gelu`].
    pub fn gelu(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Gelu, &[x])
    }

    /// [`Op::Sigmoid`].
    pub fn sigmoid(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Sigmoid, &[x])
    }

    /// [`Op::Softmax`].
    pub fn softmax(&mut self, x: ValueId, axis: usize) -> Result<ValueId, GraphError> {
        self.one(Op::Softmax { axis }, &[x])
    }

    /// [`Op::LayerNorm`].
    pub fn layer_norm(
        &mut self,
        x: ValueId,
        scale: ValueId,
        bias: ValueId,
        eps: f32,
    ) -> Result<ValueId, GraphError> {
        self.one(Op::LayerNorm { eps }, &[x, scale, bias])
    }

    /// [`Op::Concat`]; a single value is returned as it is.
    pub fn concat(&mut self, values: &[ValueId], axis: usize) -> Result<ValueId, GraphError> {
        match values {
            [single] => Ok(*single),
            _ => self.one(Op::Concat { axis }, values),
        }
    }

    /// [`Op::Resize`]; a map that already has the size is returned as it is.
    pub fn resize(&mut self, x: ValueId, size: [usize; 2]) -> Result<ValueId, GraphError> {
        match self.shape(x) {
            [_, _, h, w] if [*h, *w] == size => Ok(x),
            _ => self.one(Op::Resize { size }, &[x]),
        }
    }

    /// [`Op::Reshape`].
    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, GraphError> {
        Ok(self.node(Op::Reshape, &[x], shape)?[0])
    }

    /// [`Op::Transpose`].
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, GraphError> {
        let perm = perm.to_vec();
        self.one(Op::Transpose { perm }, &[x])
    }

    /// [`Op::Slice`]; the whole axis is returned as it is.
    pub fn slice(
        &mut self,
        x: ValueId,
        axis: usize,
        range: std::ops::Range<usize>,
    ) -> Result<ValueId, GraphError> {
        if range.start == 0 && self.shape(x).get(axis) == Some(&range.end) {
            return Ok(x);
        }
        let op = Op::Slice {
            axis,
            start: range.start,
            end: range.end,
        };
        self.one(op, &[x])
    }

    /// [`Op::Pad`].
    pub fn pad(
        &mut self,
        x: ValueId,
        before: &[usize],
        after: &[usize],
    ) -> Result<ValueId, GraphError> {
        let op = Op::Pad {
            before: before.to_vec(),
            after: after.to_vec(),
        };
        self.one(op, &[x])
    }

    /// [`Op::MaxPool2d`].
    pub fn max_pool2d(
        &mut self,
        x: ValueId,
        kernel: usize,
        padding: usize,
    ) -> Result<ValueId, GraphError> {
        self.one(Op::MaxPool2d { kernel, padding }, &[x])
    }

    /// [`Op::TopK`]: values, then indices.
    pub fn top_k(&mut self, x: ValueId, k: usize) -> Result<[ValueId; 2], GraphError> {
        let outputs = self.node(Op::TopK { k }, &[x], &[])?;
        Ok([outputs[0], outputs[1]])
    }

    /// [`Op::Gather`].
    pub fn gather(
        &mut self,
        x: ValueId,
        indices: ValueId,
        axis: usize,
    ) -> Result<ValueId, GraphError> {
        self.one(Op::Gather { axis }, &[x, indices])
    }

    /// [`Op::Equal`].
    pub fn equal(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.one(Op::Equal, &[a, b])
    }

    /// [`Op::WindowPartition`].
    pub fn window_partition(
        &mut self,
        x: ValueId,
        windows: Windows,
    ) -> Result<ValueId, GraphError> {
        self.one(Op::WindowPartition(windows), &[x])
    }

    /// [`Op::WindowMerge`].
    pub fn window_merge(&mut self, x: ValueId, windows: Windows) -> Result<ValueId, GraphError> {
        self.one(Op::WindowMerge(windows), &[x])
    }
}

fn check_count(shape: &[usize], found: usize) -> Result<(), GraphError> {
    if check_size(shape).is_ok() && shape.iter().product::<usize>() == found {
        Ok(())
    } else {
        Err(GraphError::Constant {
            shape: shape.to_vec(),
            found,
        })
    }
}
