//! Torch tensors as a pickle describes them: a storage, an offset, a shape and strides; in elements.
//!
//! Only the forms below are recognised; everything else in a pickle stays inert.
//!
//! | in the pickle | meaning |
//! | --- | --- |
//! | `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)` | a tensor |
//! | `torch._utils._rebuild_parameter(tensor, ...)` | a parameter |
//! | `torch._tensor._rebuild_from_type_v2(function, type, arguments, ...)` | either, with attributes |
//! | persistent id `('storage', class, key, device, elements, ...)` | bytes stored beside the pickle |

use half::{bf16, f16};

use super::pickle::{Graph, Node, NodeId};
use super::tensor::{Tensor, TensorData};

/// Elements of one tensor; 8 GiB of float32.
const MAX_ELEMENTS: usize = 1 << 31;
/// Elements of a tensor that repeats those of its storage, as `expand` makes it: 4 MiB of float32. Without
/// it, a file of a few hundred bytes could ask for gigabytes.
const MAX_REPEATED: usize = 1 << 20;
/// Bytes of a storage's name, which every tensor keeps a copy of; torch's are decimal numbers.
const MAX_KEY: usize = 128;
/// Extents of one tensor.
const MAX_DIMENSIONS: usize = 16;
/// Wrappers around a tensor: a parameter with attributes has two.
const MAX_WRAPPERS: usize = 4;

/// Type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
}

impl Element {
    fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" | "BoolStorage" => Self::U8,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// A storage as a persistent id names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    /// Name of its bytes.
    pub(super) key: String,
    /// Type of its elements.
    pub(super) element: Element,
    /// Elements it has.
    pub(super) elements: u64,
    /// First element of this view of it (legacy files).
    pub(super) start: u64,
}

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    /// Where its values are.
    pub(super) storage: StorageRef,
    offset: u64,
    /// Extents.
    pub(super) shape: Vec<usize>,
    strides: Vec<u64>,
}

/// The tensor at `id`; `None` when it is another kind of object.
///
/// # Errors
/// When it is a tensor that cannot be read: says why.
pub(super) fn tensor_ref(graph: &Graph, id: NodeId) -> Result<Option<TensorRef>, String> {
    let mut id = id;
    for _ in 0..MAX_WRAPPERS {
        match graph.call(id) {
            Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2", arguments)) => {
                return described(graph, arguments).map(Some);
            }
            Some((
                "torch._utils",
                "_rebuild_parameter" | "_rebuild_parameter_with_state",
                [inner, ..],
            )) => id = *inner,
            Some(("torch._tensor", "_rebuild_from_type_v2", [function, _, arguments, ..])) => {
                return match (graph.global(*function), graph.items(*arguments)) {
                    (Some(("torch._utils", "_rebuild_tensor_v2")), Some(arguments)) => {
                        described(graph, arguments).map(Some)
                    }
                    (Some(("torch._utils", "_rebuild_parameter")), Some([inner, ..])) => {
                        tensor_ref_plain(graph, *inner)
                    }
                    _ => Err("its tensor subclass is not supported".into()),
                };
            }
            Some(("torch._utils", name, _)) if name.starts_with("_rebuild") => {
                return Err(format!(
                    "{name} makes a kind of tensor that is not supported"
                ));
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn tensor_ref_plain(graph: &Graph, id: NodeId) -> Result<Option<TensorRef>, String> {
    match graph.call(id) {
        Some(("torch._utils", "_rebuild_tensor_v2", arguments)) => {
            described(graph, arguments).map(Some)
        }
        _ => Err("its tensor subclass is not supported".into()),
    }
}

fn described(graph: &Graph, arguments: &[NodeId]) -> Result<TensorRef, String> {
    let [storage, offset, size, stride, ..] = arguments else {
        return Err("its description is incomplete".into());
    };
    let Node::Persistent(persistent) = graph.node(*storage) else {
        return Err("its storage is not stored beside the pickle".into());
    };
    let storage = storage_ref(graph, *persistent)?;
    let offset = unsigned(graph, *offset).ok_or("its offset is not a number")?;
    let sizes = extents(graph, *size).ok_or("its shape is not a tuple of numbers")?;
    let strides = extents(graph, *stride).ok_or("its strides are not a tuple of numbers")?;
    if sizes.len() != strides.len() || sizes.len() > MAX_DIMENSIONS {
        return Err(format!(
            "its shape has {} extents and {} strides",
            sizes.len(),
            strides.len()
        ));
    }
    let shape: Result<Vec<usize>, _> = sizes.into_iter().map(usize::try_from).collect();
    Ok(TensorRef {
        storage,
        offset,
        shape: shape.map_err(|error| format!("its shape: {error}"))?,
        strides,
    })
}

fn unsigned(graph: &Graph, id: NodeId) -> Option<u64> {
    graph.int(id).and_then(|value| u64::try_from(value).ok())
}

/// A tuple of sizes, bare or inside `torch.Size(...)`.
fn extents(graph: &Graph, id: NodeId) -> Option<Vec<u64>> {
    let items = match graph.call(id) {
        Some(("torch", "Size", [inner])) => graph.items(*inner)?,
        _ => graph.items(id)?,
    };
    items.iter().map(|item| unsigned(graph, *item)).collect()
}

/// The storage that a persistent id names.
///
/// # Errors
/// When it is not a storage of a known type: says why.
pub(super) fn storage_ref(graph: &Graph, persistent: NodeId) -> Result<StorageRef, String> {
    let Some([tag, class, key, _device, elements, view @ ..]) = graph.items(persistent) else {
        return Err("its storage has no (tag, class, key, device, size)".into());
    };
    let (Some("storage"), Some((_, class))) = (graph.text(*tag), graph.global(*class)) else {
        return Err("its storage is not a torch storage".into());
    };
    let element = Element::of_storage(class)
        .ok_or_else(|| format!("elements of {class} are not supported"))?;
    let elements = unsigned(graph, *elements).ok_or("its storage's size is not a number")?;
    let start = match view {
        [view] => match graph.items(*view) {
            Some([_, start, _]) => unsigned(graph, *start).ok_or("its view has no offset")?,
            _ => 0,
        },
        _ => 0,
    };
    let key = match graph.node(*key) {
        Node::Text(key) if key.len() <= MAX_KEY => key.clone(),
        Node::Int(key) => key.to_string(),
        Node::Text(_) => return Err(format!("its storage's key is longer than {MAX_KEY} bytes")),
        _ => return Err("its storage has no key".into()),
    };
    Ok(StorageRef {
        key,
        element,
        elements,
        start,
    })
}

/// Byte order of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl TensorRef {
    /// The values, row-major: floats as float32, integers as int64.
    ///
    /// # Errors
    /// When the tensor reaches beyond its storage, or is too large: says how.
    pub(super) fn read(&self, storage: &[u8], order: ByteOrder) -> Result<Tensor, String> {
        let count = self.element_count()?;
        let first = self.check_bounds(count, storage)?;
        let view = View {
            tensor: self,
            storage,
            order,
            first,
            count,
        };
        let data = match self.storage.element {
            Element::F32 => TensorData::F32(view.values(f32::from_le_bytes)),
            Element::F64 => TensorData::F32(view.values(|b| f64::from_le_bytes(b) as f32)),
            Element::F16 => TensorData::F32(view.values(|b| f16::from_le_bytes(b).to_f32())),
            Element::Bf16 => TensorData::F32(view.values(|b| bf16::from_le_bytes(b).to_f32())),
            Element::I64 => TensorData::I64(view.values(i64::from_le_bytes)),
            Element::I32 => TensorData::I64(view.values(|b| i32::from_le_bytes(b).into())),
            Element::I16 => TensorData::I64(view.values(|b| i16::from_le_bytes(b).into())),
            Element::I8 => TensorData::I64(view.values(|b| i8::from_le_bytes(b).into())),
            Element::U8 => TensorData::I64(view.values(|[b]| b.into())),
        };
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn element_count(&self) -> Result<usize, String> {
        self.shape
            .iter()
            .try_fold(1_usize, |count, extent| count.checked_mul(*extent))
            .filter(|count| *count <= MAX_ELEMENTS)
            .ok_or_else(|| format!("shape {:?} has too many elements", self.shape))
    }

    /// The first element, when the last one lies within the storage.
    fn check_bounds(&self, count: usize, storage: &[u8]) -> Result<usize, String> {
        let held = storage.len() as u64 / self.storage.element.size();
        let first = self.offset.checked_add(self.storage.start);
        if count == 0 {
            return Ok(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.into_iter().fold(first, |last, (extent, stride)| {
            let reach = (*extent as u64 - 1).checked_mul(*stride)?;
            last?.checked_add(reach)
        });
        match (first, last) {
            (Some(_), Some(last)) if last < held && count as u64 > held && count > MAX_REPEATED => {
                Err(format!(
                    "shape {:?} with strides {:?} repeats its storage's {held} elements; save \
                     tensor.contiguous() instead",
                    self.shape, self.strides
                ))
            }
            (Some(first), Some(last)) if last < held => Ok(first as usize),
            _ => Err(format!(
                "shape {:?} with strides {:?} from element {} reaches beyond its storage of {held}",
                self.shape, self.strides, self.offset
            )),
        }
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (extent, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *extent != 1 && *stride != expected {
                return false;
            }
            expected *= *extent as u64;
        }
        true
    }

    /// Element of the storage for each element of the tensor, row-major.
    fn positions(&self, first: usize) -> Vec<usize> {
        let steps = self.shape.iter().zip(&self.strides);
        steps.fold(vec![first], |starts, (extent, stride)| {
            let expand = |start| (0..*extent).map(move |index| start + index * *stride as usize);
            starts.into_iter().flat_map(expand).collect()
        })
    }
}

/// A tensor whose bounds were checked against its storage.
struct View<'a> {
    tensor: &'a TensorRef,
    storage: &'a [u8],
    order: ByteOrder,
    first: usize,
    count: usize,
}

impl View<'_> {
    fn values<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Vec<T> {
        if self.count == 0 {
            return Vec::new();
        }
        let elements = self.storage.as_chunks::<N>().0;
        let value = |mut raw: [u8; N]| {
            if self.order == ByteOrder::Big {
                raw.reverse();
            }
            decode(raw)
        };
        if self.tensor.is_contiguous() {
            let values = &elements[self.first..self.first + self.count];
            return values.iter().map(|raw| value(*raw)).collect();
        }
        let positions = self.tensor.positions(self.first);
        positions
            .into_iter()
            .map(|at| value(elements[at]))
            .collect()
    }
}
