//! What a graph costs: operations, weights, activations.

use super::ir::{DType, Graph, Node, Op, Value};

/// Cost of one node, with its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCost {
    /// Index into [`Graph::nodes`].
    pub node: usize,
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes of its outputs as float32 (int64 for indices).
    pub activation_bytes: u64,
}

/// Cost of a graph's live nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Per node, in execution order.
    pub nodes: Vec<NodeCost>,
    /// Stored numbers that live nodes read.
    pub parameters: u64,
}

impl Stats {
    /// All operations.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.nodes.iter().map(|n| n.flops).sum()
    }

    /// All activations, were each kept.
    #[must_use]
    pub fn activation_bytes(&self) -> u64 {
        self.nodes.iter().map(|n| n.activation_bytes).sum()
    }
}

/// Counts the nodes that the outputs depend on.
#[must_use]
pub fn stats(graph: &Graph) -> Stats {
    let live = graph.live_nodes();
    let mut read = vec![false; graph.values.len()];
    let mut nodes = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
        for id in &node.inputs {
            read[id.0] = true;
        }
        let outputs = node.outputs.iter().map(|id| bytes(graph.value(*id)));
        nodes.push(NodeCost {
            node: index,
            flops: flops(graph, node),
            activation_bytes: outputs.sum(),
        });
    }
    let constants = graph.values.iter().zip(read);
    Stats {
        nodes,
        parameters: constants
            .filter(|(value, read)| *read && value.constant.is_some())
            .map(|(value, _)| value.len() as u64)
            .sum(),
    }
}

fn bytes(value: &Value) -> u64 {
    let width = match value.dtype {
        DType::F32 => 4,
        DType::I64 => 8,
    };
    value.len() as u64 * width
}

/// Operations by the usual counting: moves are free, exp, erf and division count as one.
fn flops(graph: &Graph, node: &Node) -> u64 {
    let input = |i: usize| graph.value(node.inputs[i]);
    let out = graph.value(node.outputs[0]).len() as u64;
    let has_bias = u64::from(node.inputs.len() == 3);
    let product = |extents: &[usize]| extents.iter().product::<usize>() as u64;
    match &node.op {
        Op::Conv2d { .. } => out * (2 * product(&input(1).shape[1..]) + has_bias),
        Op::ConvTranspose2d { .. } => {
            2 * input(0).len() as u64 * product(&input(1).shape[1..]) + out * has_bias
        }
        Op::MatMul => 2 * out * input(0).shape.last().map_or(0, |k| *k as u64),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Relu | Op::Equal => out,
        Op::Gelu | Op::Sigmoid | Op::Softmax { .. } => 4 * out,
        Op::Resize { .. } | Op::LayerNorm { .. } => 8 * out,
        Op::MaxPool2d { kernel, .. } => out * (kernel * kernel) as u64,
        Op::TopK { .. } => input(0).len() as u64,
        Op::Concat { .. }
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::WindowPartition(_)
        | Op::WindowMerge(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::stats;
    use crate::graph::GraphBuilder;

    #[test]
    fn a_convolution_costs_two_per_multiply_add_and_dead_nodes_nothing() {
        let mut b = GraphBuilder::new("test", "");
        let x = b.input("x", &[1, 3, 8, 8]).unwrap();
        let weight = b.constant(&[4, 3, 3, 3], vec![0.0; 108]).unwrap();
        let bias = b.constant(&[4], vec![0.0; 4]).unwrap();
        let y = b.conv2d(x, weight, Some(bias), 2, 1).unwrap();
        b.relu(x).unwrap();
        let stats = stats(&b.finish(&[("y", y)]).unwrap());
        assert_eq!(stats.flops(), 4 * 4 * 4 * (2 * 27 + 1));
        assert_eq!(stats.parameters, 112);
        assert_eq!(stats.activation_bytes(), 4 * 64);
        assert_eq!(stats.nodes.len(), 1);
    }
}
