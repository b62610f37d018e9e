//! Writes a graph as ONNX: opset 17, weights inside, every shape fixed, only what the outputs need.
//!
//! Outputs and inputs keep their interface names, other tensors the name they have in the graph. Gelu is
//! written with Erf (opset 17 has no Gelu); the window ops become pad, roll, reshape and transpose.

mod lower;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::ir::{DType, Data, Graph, Port, Value, ValueId};
use super::onnx_proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TENSOR_FLOAT, TENSOR_INT64, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Version of the operator set: the first with LayerNormalization, the one AWML exports.
pub const OPSET: i64 = 17;

/// Version of the file format that goes with it.
pub const IR_VERSION: i64 = 8;

/// Bytes that a protobuf message may have.
const MAX_BYTES: usize = (1 << 31) - 1;

/// Why a graph cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// protobuf's limit.
    #[error(
        "graph {graph:?} would take {bytes} bytes; an ONNX file with its weights inside holds at most {MAX_BYTES}"
    )]
    TooLarge {
        /// The graph.
        graph: String,
        /// Its size.
        bytes: usize,
    },
}

/// The graph as the bytes of an ONNX file.
///
/// # Errors
/// When it exceeds what protobuf can hold.
pub fn encode(graph: &Graph) -> Result<Vec<u8>, OnnxError> {
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("bevfusion-rt".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        doc_string: Some(graph.description.clone()),
        graph: Some(Writer::new(graph).write()),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: metadata(graph),
    };
    let bytes = model.encoded_len();
    if bytes > MAX_BYTES {
        let graph = graph.name.clone();
        return Err(OnnxError::TooLarge { graph, bytes });
    }
    Ok(model.encode_to_vec())
}

/// Input and output shapes in words, for tools that show metadata only.
fn metadata(graph: &Graph) -> Vec<StringStringEntryProto> {
    let shapes = |ports: &[Port]| {
        let texts = ports.iter().map(|port| {
            let value = graph.value(port.value);
            format!("{}: {:?} {:?}", port.name, value.dtype, value.shape)
        });
        texts.collect::<Vec<String>>().join("; ")
    };
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value),
    };
    vec![
        entry("network", graph.name.clone()),
        entry("inputs", shapes(&graph.inputs)),
        entry("outputs", shapes(&graph.outputs)),
    ]
}

/// Collects what a graph becomes.
struct Writer<'g> {
    graph: &'g Graph,
    /// Tensor name of each value.
    names: Vec<String>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Helper constants by contents.
    shared: BTreeMap<Vec<i64>, String>,
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            names: tensor_names(graph),
            nodes: Vec::new(),
            initializers: Vec::new(),
            shared: BTreeMap::new(),
        }
    }

    fn write(mut self) -> GraphProto {
        let live = self.graph.live_nodes();
        let mut read = BTreeSet::new();
        for (node, alive) in self.graph.nodes.iter().zip(live) {
            if alive {
                read.extend(node.inputs.iter().copied());
                self.lower(node);
            }
        }
        for port in &self.graph.outputs {
            read.insert(port.value);
            let name = self.name(port.value).to_owned();
            if name != port.name {
                self.push("Identity", &[&name], &port.name, Vec::new());
            }
        }
        for id in read {
            if let Some(data) = &self.graph.value(id).constant {
                let value = self.graph.value(id);
                let tensor = tensor(self.name(id), &value.shape, data);
                self.initializers.push(tensor);
            }
        }
        GraphProto {
            node: self.nodes,
            name: Some(self.graph.name.clone()),
            initializer: self.initializers,
            doc_string: Some(self.graph.description.clone()),
            input: infos(self.graph, &self.graph.inputs),
            output: infos(self.graph, &self.graph.outputs),
        }
    }

    fn name(&self, id: ValueId) -> &str {
        &self.names[id.0]
    }

    fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.push_many(op, inputs, &[output], attribute);
    }

    fn push_many(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name: Some(format!("{op}.{}", self.nodes.len())),
            op_type: Some(op.into()),
            attribute,
            domain: None,
        });
    }

    /// A one-dimensional int64 constant, stored once per contents.
    fn integers(&mut self, values: &[i64]) -> String {
        if let Some(name) = self.shared.get(values) {
            return name.clone();
        }
        let name = format!("const.i{}", self.shared.len());
        let data = Data::I64(values.into());
        self.initializers
            .push(tensor(&name, &[values.len()], &data));
        self.shared.insert(values.to_vec(), name.clone());
        name
    }

    /// A float32 scalar constant, stored once per name.
    fn scalar(&mut self, name: &str, value: f32) -> String {
        let name = format!("const.{name}");
        let known = self.initializers.iter();
        if !known.into_iter().any(|t| t.name.as_deref() == Some(&name)) {
            let data = Data::F32([value].into());
            self.initializers.push(tensor(&name, &[], &data));
        }
        name
    }
}

/// A unique tensor name per value: the interface's, else one of the graph's, else a number.
fn tensor_names(graph: &Graph) -> Vec<String> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut names: Vec<Option<&str>> = vec![None; graph.values.len()];
    let ports = graph.inputs.iter().chain(&graph.outputs);
    for port in ports {
        taken.insert(&port.name);
        names[port.value.0].get_or_insert(&port.name);
    }
    for (name, id) in &graph.names {
        if names[id.0].is_none() && taken.insert(name) {
            names[id.0] = Some(name);
        }
    }
    let numbered = |(index, name): (usize, Option<&str>)| match name {
        Some(name) => name.to_owned(),
        None => format!("value.{index}"),
    };
    names.into_iter().enumerate().map(numbered).collect()
}

fn infos(graph: &Graph, ports: &[Port]) -> Vec<ValueInfoProto> {
    let info = |port: &Port| ValueInfoProto {
        name: Some(port.name.clone()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type(graph.value(port.value))),
        }),
    };
    ports.iter().map(info).collect()
}

fn tensor_type(value: &Value) -> TensorTypeProto {
    let dimension = |extent: &usize| DimensionProto {
        dim_value: Some(*extent as i64),
        dim_param: None,
    };
    TensorTypeProto {
        elem_type: Some(match value.dtype {
            DType::F32 => TENSOR_FLOAT,
            DType::I64 => TENSOR_INT64,
        }),
        shape: Some(TensorShapeProto {
            dim: value.shape.iter().map(dimension).collect(),
        }),
    }
}

fn tensor(name: &str, shape: &[usize], data: &Data) -> TensorProto {
    let (data_type, raw) = match data {
        Data::F32(values) => (
            TENSOR_FLOAT,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Data::I64(values) => (
            TENSOR_INT64,
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    };
    TensorProto {
        dims: shape.iter().map(|n| *n as i64).collect(),
        data_type: Some(data_type),
        name: Some(name.into()),
        raw_data: Some(raw),
        data_location: None,
    }
}

#[cfg(test)]
mod tests {
    use super::encode;
    use crate::graph::GraphBuilder;
    use crate::graph::read::summarise;

    #[test]
    fn a_written_graph_reads_back_with_its_interface() {
        let mut b = GraphBuilder::new("small", "what it does");
        let x = b.input("x", &[1, 4, 6]).unwrap();
        let weight = b.constant(&[6, 2], vec![0.5; 12]).unwrap();
        let unused = b.constant(&[2], vec![1.0; 2]).unwrap();
        let y = b.matmul(x, weight).unwrap();
        b.add(y, unused).unwrap();
        let z = b.gelu(y).unwrap();
        b.name(z, "inner").unwrap();
        let graph = b.finish(&[("z", z), ("again", z), ("same", x)]).unwrap();
        let summary = summarise(&encode(&graph).unwrap()).unwrap();
        assert_eq!(summary.opsets, [(String::new(), 17)]);
        assert_eq!((summary.inputs.len(), summary.outputs.len()), (1, 3));
        assert_eq!(summary.outputs[1].name, "again");
        assert_eq!(summary.outputs[1].shape, ["1", "4", "2"]);
        assert_eq!(
            summary.nodes.iter().filter(|n| n.op == "Identity").count(),
            2
        );
        assert!(summary.nodes.iter().all(|n| n.op != "Gelu"));
        let weights = summary
            .initializers
            .iter()
            .filter(|t| t.shape == ["6", "2"]);
        assert_eq!(weights.count(), 1);
        assert!(summary.initializers.iter().all(|t| t.shape != ["2"]));
    }
}
