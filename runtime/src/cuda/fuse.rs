//! A dense graph as a list of convolutions with everything that can ride in their epilogues.
//!
//! In: a [`Graph`]. Out: its live convolutions and resizings in execution order, a convolution with the
//! addition and activation that follow it, and its concatenations, which cost nothing: their inputs are
//! written in place.

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

/// A launch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FusedStep {
    Conv(FusedConv),
    /// Bilinear, to the size of the output.
    Resize {
        input: ValueId,
        output: ValueId,
    },
}

impl FusedStep {
    pub(super) const fn output(&self) -> ValueId {
        match self {
            Self::Conv(conv) => conv.output,
            Self::Resize { output, .. } => *output,
        }
    }

    /// Maps that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = ValueId> {
        let (input, addend) = match self {
            Self::Conv(conv) => (conv.input, conv.addend),
            Self::Resize { input, .. } => (*input, None),
        };
        [Some(input), addend].into_iter().flatten()
    }
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
    pub(super) steps: Vec<FusedStep>,
    pub(super) joins: Vec<Join>,
}

/// Fuses the part of `graph` that its outputs need.
///
/// # Errors
/// When it holds an operation that is neither a convolution or resizing nor part of an epilogue.
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

impl Fused {
    /// The convolution that makes `id`.
    fn conv_of(&mut self, id: ValueId) -> Option<&mut FusedConv> {
        self.steps.iter_mut().find_map(|step| match step {
            FusedStep::Conv(conv) if conv.output == id => Some(conv),
            _ => None,
        })
    }

    /// When `id` is made.
    fn place_of(&self, id: ValueId) -> Option<usize> {
        self.steps.iter().position(|step| step.output() == id)
    }
}

fn take(graph: &Graph, node: &Node, uses: &[usize], fused: &mut Fused) -> Result<(), GraphError> {
    let output = node.outputs[0];
    let is_only_reader = |id: ValueId| uses[id.0] == 1;
    match &node.op {
        Op::Conv2d { stride, padding } => {
            let conv = conv(node, *stride, *padding, false);
            fused.steps.push(FusedStep::Conv(conv));
        }
        Op::ConvTranspose2d { stride } => {
            let conv = conv(node, *stride, [0; 2], true);
            fused.steps.push(FusedStep::Conv(conv));
        }
        Op::Resize { .. } => fused.steps.push(FusedStep::Resize {
            input: node.inputs[0],
            output,
        }),
        Op::Concat { axis: 1 } => fused.joins.push(Join {
            parts: node.inputs.clone(),
            output,
        }),
        Op::Relu | Op::Gelu => {
            let conv = fused
                .conv_of(node.inputs[0])
                .filter(|conv| is_only_reader(conv.output) && conv.follow == Follow::Nothing)
                .ok_or_else(|| refuse(graph, node))?;
            conv.follow = match node.op {
                Op::Gelu => Follow::Gelu,
                _ => Follow::Relu,
            };
            conv.output = output;
        }
        Op::Add => add(graph, node, fused, is_only_reader)?,
        _ => return Err(refuse(graph, node)),
    }
    Ok(())
}

/// The later of the two summands takes the other one in, which exists by then.
fn add(
    graph: &Graph,
    node: &Node,
    fused: &mut Fused,
    is_only_reader: impl Fn(ValueId) -> bool,
) -> Result<(), GraphError> {
    let [a, b] = [node.inputs[0], node.inputs[1]];
    let same = graph.value(a).shape == graph.value(b).shape;
    let own = [(a, b), (b, a)]
        .into_iter()
        .filter(|(own, _)| is_only_reader(*own))
        .filter_map(|(own, other)| Some((fused.place_of(own)?, own, other)))
        .max_by_key(|(place, ..)| *place);
    let conv = own.and_then(|(_, own, other)| Some((fused.conv_of(own)?, other)));
    let free =
        conv.filter(|(conv, _)| same && conv.addend.is_none() && conv.follow == Follow::Nothing);
    let (conv, other) = free.ok_or_else(|| refuse(graph, node))?;
    conv.addend = Some(other);
    conv.output = node.outputs[0];
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
    use super::{Follow, FusedStep, fuse};
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
        let [FusedStep::Conv(one), FusedStep::Conv(two)] = &fused.steps[..] else {
            panic!("two convolutions: {fused:?}");
        };
        assert_eq!(one.follow, Follow::Relu);
        assert_eq!(two.addend, Some(fixed));
        assert_eq!(fused.joins[0].parts, [one.output, two.output]);
    }

    #[test]
    fn a_resized_map_can_be_joined() {
        let mut g = GraphBuilder::new("g", "");
        let x = g.input("x", &[1, 2, 3, 3]).expect("input");
        let fine = g.input("fine", &[1, 2, 6, 6]).expect("input");
        let resized = g.resize(x, [6, 6]).expect("resize");
        let joined = g.concat(&[fine, resized], 1).expect("concat");
        let graph = g.finish(&[("y", joined)]).expect("graph");
        let fused = fuse(&graph).expect("known operations");
        assert_eq!(fused.steps.len(), 1);
        assert_eq!(fused.steps[0].reads().collect::<Vec<_>>(), [x]);
        assert_eq!(fused.joins[0].parts, [fine, resized]);
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
