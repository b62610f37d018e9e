//! A dense graph as a list of convolutions with everything that can ride in their epilogues.
//!
//! In: a [`Graph`]. Out: its live convolutions in execution order, each with the addition and activation
//! that follow it, and its concatenations, which cost nothing: their inputs are written in place.

use crate::graph::{Graph, GraphError, Node, Op, ValueId};

/// What follows a convolution's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    Nothing,
    Relu,
    Gelu,
}

/// A convolution with its epilogue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FusedConv {
    pub(super) input: ValueId,
    pub(super) weight: ValueId,
    pub(super) bias: Option<ValueId>,
    /// Added before the activation: a constant or an earlier map.
    pub(super) addend: Option<ValueId>,
    pub(super) follow: Follow,
    /// Kernel equals stride, weight `[in, out, k, k]`.
    pub(super) transposed: bool,
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) output: ValueId,
}

/// Maps joined along the channels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Join {
    pub(super) parts: Vec<ValueId>,
    pub(super) output: ValueId,
}

/// The fused form of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fused {
    pub(super) convs: Vec<FusedConv>,
    pub(super) joins: Vec<Join>,
}

/// Fuses the part of `graph` that its outputs need.
///
/// # Errors
/// When it holds an operation that is neither a convolution nor part of one's epilogue.
pub(super) fn fuse(graph: &Graph) -> Result<Fused, GraphError> {
    let live = graph.live_nodes();
    let nodes: Vec<&Node> = (graph.nodes.iter().zip(live))
        .filter_map(|(node, live)| live.then_some(node))
        .collect();
    let mut uses = vec![0_usize; graph.values.len()];
    for id in nodes.iter().flat_map(|node| &node.inputs) {
        uses[id.0] += 1;
    }
    for port in &graph.outputs {
        uses[port.value.0] += 1;
    }
    let mut fused = Fused::default();
    for node in nodes {
        take(graph, node, &uses, &mut fused)?;
    }
    Ok(fused)
}

fn take(graph: &Graph, node: &Node, uses: &[usize], fused: &mut Fused) -> Result<(), GraphError> {
    let output = node.outputs[0];
    // The convolution whose result this node alone reads.
    let only_reader = |id: ValueId, fused: &Fused| {
        let found = fused.convs.iter().position(|conv| conv.output == id);
        found.filter(|_| uses[id.0] == 1)
    };
    match &node.op {
        Op::Conv2d { stride, padding } => fused.convs.push(conv(node, *stride, *padding, false)),
        Op::ConvTranspose2d { stride } => fused.convs.push(conv(node, *stride, [0; 2], true)),
        Op::Concat { axis: 1 } => fused.joins.push(Join {
            parts: node.inputs.clone(),
            output,
        }),
        Op::Relu | Op::Gelu => {
            let place = only_reader(node.inputs[0], fused)
                .filter(|place| fused.convs[*place].follow == Follow::Nothing)
                .ok_or_else(|| refuse(graph, node))?;
            fused.convs[place].follow = match node.op {
                Op::Gelu => Follow::Gelu,
                _ => Follow::Relu,
            };
            fused.convs[place].output = output;
        }
        Op::Add => {
            let [a, b] = [node.inputs[0], node.inputs[1]];
            let same = graph.value(a).shape == graph.value(b).shape;
            // The later of the two takes the other one in, which exists by then.
            let place = [(a, b), (b, a)]
                .into_iter()
                .filter_map(|(own, other)| Some((only_reader(own, fused)?, other)))
                .max_by_key(|(place, _)| *place)
                .filter(|(place, _)| {
                    let conv = &fused.convs[*place];
                    same && conv.addend.is_none() && conv.follow == Follow::Nothing
                });
            let (place, other) = place.ok_or_else(|| refuse(graph, node))?;
            fused.convs[place].addend = Some(other);
            fused.convs[place].output = output;
        }
        _ => return Err(refuse(graph, node)),
    }
    Ok(())
}

fn conv(node: &Node, stride: [usize; 2], padding: [usize; 2], transposed: bool) -> FusedConv {
    FusedConv {
        input: node.inputs[0],
        weight: node.inputs[1],
        bias: node.inputs.get(2).copied(),
        addend: None,
        follow: Follow::Nothing,
        transposed,
        stride,
        padding,
        output: node.outputs[0],
    }
}

fn refuse(graph: &Graph, node: &Node) -> GraphError {
    GraphError::setting(
        &graph.name,
        &node.op,
        "the CUDA engine does not run this operation here",
    )
}

#[cfg(test)]
mod tests {
    use super::{Follow, fuse};
    use crate::graph::GraphBuilder;

    #[test]
    fn addition_and_activation_ride_with_the_convolution_before_them() {
        let mut g = GraphBuilder::new("g", "");
        let x = g.input("x", &[1, 2, 3, 3]).expect("input");
        let weight = g.constant(&[2, 2, 1, 1], vec![1.0; 4]).expect("weight");
        let fixed = g.constant(&[1, 2, 3, 3], vec![0.5; 18]).expect("constant");
        let first = g.conv2d(x, weight, None, 1, 0).expect("conv");
        let first = g.relu(first).expect("relu");
        let second = g.conv2d(first, weight, None, 1, 0).expect("conv");
        let second = g.add(fixed, second).expect("add");
        let joined = g.concat(&[first, second], 1).expect("concat");
        let graph = g.finish(&[("y", joined)]).expect("graph");
        let fused = fuse(&graph).expect("only convolutions");
        assert_eq!(fused.convs.len(), 2);
        assert_eq!(fused.convs[0].follow, Follow::Relu);
        assert_eq!(fused.convs[1].addend, Some(fixed));
        assert_eq!(
            fused.joins[0].parts,
            [fused.convs[0].output, fused.convs[1].output]
        );
    }

    #[test]
    fn what_is_no_convolution_is_named() {
        let mut g = GraphBuilder::new("g", "");
        let x = g.input("x", &[1, 2, 3, 3]).expect("input");
        let y = g.sigmoid(x).expect("sigmoid");
        let graph = g.finish(&[("y", y)]).expect("graph");
        let message = fuse(&graph).expect_err("sigmoid").to_string();
        assert!(message.contains("Sigmoid"), "{message}");
    }
}
