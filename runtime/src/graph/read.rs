//! Reads what an ONNX file contains: interface, nodes, weights.
//!
//! The bytes may come from anywhere; whatever they are, the answer is a summary or an error. Memory is
//! bounded by a small multiple of the input's length.

use std::collections::BTreeMap;

use prost::Message;

use super::onnx_proto::{
    DimensionProto, LOCATION_EXTERNAL, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not protobuf, or not this message.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A message without a graph: an empty file, or another protobuf.
    #[error("not an ONNX model: it has no graph")]
    NoGraph,
    /// A weight contradicts itself.
    #[error("initialiser {name:?}: {problem}")]
    Initializer {
        /// The weight.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// A tensor at the interface or a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSummary {
    /// Name.
    pub name: String,
    /// Element type, for example `float32`.
    pub dtype: String,
    /// Extents: numbers or symbols; `?` where the file says neither.
    pub shape: Vec<String>,
    /// Bytes stored in the file.
    pub stored_bytes: usize,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// Name.
    pub name: String,
    /// Op type, with its domain in front unless it is ONNX's own.
    pub op: String,
    /// Tensors read.
    pub inputs: Vec<String>,
    /// Tensors made.
    pub outputs: Vec<String>,
}

/// What a file contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxSummary {
    /// Version of the file format.
    pub ir_version: i64,
    /// Domain (empty: ONNX's own) and version of each operator set.
    pub opsets: Vec<(String, i64)>,
    /// Program that wrote it, with version.
    pub producer: String,
    /// Its description.
    pub description: String,
    /// Name of the graph.
    pub name: String,
    /// Inputs without a stored value.
    pub inputs: Vec<TensorSummary>,
    /// Outputs.
    pub outputs: Vec<TensorSummary>,
    /// Nodes in order.
    pub nodes: Vec<NodeSummary>,
    /// Stored weights.
    pub initializers: Vec<TensorSummary>,
}

impl OnnxSummary {
    /// How often each op occurs.
    #[must_use]
    pub fn op_counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.op.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

/// Reads the bytes of an ONNX file.
///
/// # Errors
/// When they are not ONNX, hold no graph, or a weight's size contradicts its shape.
pub fn summarise(bytes: &[u8]) -> Result<OnnxSummary, ReadError> {
    let model = ModelProto::decode(bytes)?;
    let graph = model.graph.ok_or(ReadError::NoGraph)?;
    let initializers: Result<Vec<TensorSummary>, ReadError> =
        graph.initializer.into_iter().map(initializer).collect();
    let initializers = initializers?;
    let stored: std::collections::BTreeSet<&str> =
        initializers.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.into_iter().map(interface);
    let inputs = inputs
        .filter(|t| !stored.contains(t.name.as_str()))
        .collect();
    let opsets = model.opset_import.into_iter();
    let producer = [model.producer_name, model.producer_version];
    Ok(OnnxSummary {
        ir_version: model.ir_version.unwrap_or(0),
        opsets: opsets
            .map(|o| (o.domain.unwrap_or_default(), o.version.unwrap_or(0)))
            .collect(),
        producer: producer
            .map(Option::unwrap_or_default)
            .join(" ")
            .trim()
            .into(),
        description: model.doc_string.or(graph.doc_string).unwrap_or_default(),
        name: graph.name.unwrap_or_default(),
        inputs,
        outputs: graph.output.into_iter().map(interface).collect(),
        nodes: graph.node.into_iter().map(node).collect(),
        initializers,
    })
}

fn node(node: NodeProto) -> NodeSummary {
    let op = node.op_type.unwrap_or_default();
    NodeSummary {
        name: node.name.unwrap_or_default(),
        op: match node.domain.as_deref() {
            None | Some("" | "ai.onnx") => op,
            Some(domain) => format!("{domain}.{op}"),
        },
        inputs: node.input,
        outputs: node.output,
    }
}

fn interface(info: ValueInfoProto) -> TensorSummary {
    let tensor = info.r#type.and_then(|t| t.tensor_type).unwrap_or_default();
    let extents = tensor.shape.unwrap_or_default().dim.into_iter();
    TensorSummary {
        name: info.name.unwrap_or_default(),
        dtype: type_of(tensor.elem_type.unwrap_or(0)).0,
        shape: extents.map(extent).collect(),
        stored_bytes: 0,
    }
}

fn extent(dimension: DimensionProto) -> String {
    match (dimension.dim_value, dimension.dim_param) {
        (Some(value), _) => value.to_string(),
        (None, Some(symbol)) if !symbol.is_empty() => symbol,
        _ => "?".into(),
    }
}

fn initializer(tensor: TensorProto) -> Result<TensorSummary, ReadError> {
    let name = tensor.name.unwrap_or_default();
    let (dtype, width) = type_of(tensor.data_type.unwrap_or(0));
    let stored_bytes = tensor.raw_data.as_ref().map_or(0, Vec::len);
    let elements = tensor.dims.iter().try_fold(1_usize, |product, extent| {
        usize::try_from(*extent).ok()?.checked_mul(product)
    });
    let expected = elements.and_then(|n| n.checked_mul(width));
    let external = tensor.data_location == Some(LOCATION_EXTERNAL);
    let checked = tensor.raw_data.is_some() && width > 0 && !external;
    let problem = match expected {
        None => Some(format!("impossible extents {:?}", tensor.dims)),
        Some(expected) if checked && expected != stored_bytes => Some(format!(
            "{stored_bytes} bytes are stored, {dtype} {:?} needs {expected}",
            tensor.dims
        )),
        Some(_) => None,
    };
    match problem {
        Some(problem) => Err(ReadError::Initializer { name, problem }),
        None => Ok(TensorSummary {
            name,
            dtype,
            shape: tensor.dims.iter().map(i64::to_string).collect(),
            stored_bytes,
        }),
    }
}

/// Name and bytes of an ONNX element type; 0 bytes where elements have no fixed width here.
fn type_of(code: i32) -> (String, usize) {
    let (name, width) = match code {
        1 => ("float32", 4),
        2 => ("uint8", 1),
        3 => ("int8", 1),
        4 => ("uint16", 2),
        5 => ("int16", 2),
        6 => ("int32", 4),
        7 => ("int64", 8),
        8 => ("string", 0),
        9 => ("bool", 1),
        10 => ("float16", 2),
        11 => ("float64", 8),
        12 => ("uint32", 4),
        13 => ("uint64", 8),
        16 => ("bfloat16", 2),
        other => return (format!("type {other}"), 0),
    };
    (name.into(), width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use prost::Message;

    use super::{ReadError, summarise};
    use crate::graph::onnx_proto::{GraphProto, ModelProto, TensorProto};

    fn model(tensor: TensorProto) -> Vec<u8> {
        let graph = GraphProto {
            initializer: vec![tensor],
            ..GraphProto::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    #[test]
    fn an_empty_file_is_no_model() {
        assert_eq!(summarise(&[]), Err(ReadError::NoGraph));
    }

    #[test]
    fn a_weight_whose_size_contradicts_its_shape_is_refused() {
        let tensor = TensorProto {
            dims: vec![2, 3],
            data_type: Some(1),
            name: Some("w".into()),
            raw_data: Some(vec![0; 20]),
            data_location: None,
        };
        let error = summarise(&model(tensor.clone())).unwrap_err();
        assert!(error.to_string().contains("needs 24"), "{error}");
        let negative = TensorProto {
            dims: vec![-1],
            ..tensor.clone()
        };
        assert!(summarise(&model(negative)).is_err());
        let huge = TensorProto {
            dims: vec![i64::MAX, i64::MAX],
            ..tensor
        };
        assert!(summarise(&model(huge)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _result = summarise(&bytes);
        }

        #[test]
        fn no_damage_to_a_model_panics(position in 0_usize..60, value in any::<u8>(), cut in 0_usize..60) {
            let mut bytes = model(TensorProto {
                dims: vec![2, 3],
                data_type: Some(1),
                name: Some("weight".into()),
                raw_data: Some(vec![1; 24]),
                data_location: None,
            });
            let position = position % bytes.len();
            bytes[position] = value;
            let _whole = summarise(&bytes);
            let _part = summarise(&bytes[..cut.min(bytes.len())]);
        }
    }
}
