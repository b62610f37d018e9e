//! A pickle and torch file writer for tests: protocol 2, as torch writes it.

use std::io::Write;

use half::f16;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::weights::{TensorData, Weights};

/// A Python value to be pickled.
#[derive(Clone)]
pub(super) enum Py {
    None,
    Bool(bool),
    Int(i64),
    Str(String),
    List(Vec<Py>),
    Tuple(Vec<Py>),
    Dict(Vec<(Py, Py)>),
    Global(&'static str, &'static str),
    Call(Box<Py>, Vec<Py>),
    /// `collections.OrderedDict()` with pairs set, then a state built.
    Ordered(Vec<(Py, Py)>),
    Persistent(Box<Py>),
}

impl Py {
    pub(super) fn str(text: &str) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn dict(pairs: Vec<(&str, Py)>) -> Self {
        Self::Dict(pairs.into_iter().map(|(k, v)| (Py::str(k), v)).collect())
    }

    fn ints(values: &[usize]) -> Self {
        Self::Tuple(values.iter().map(|v| Self::Int(*v as i64)).collect())
    }
}

/// One pickle.
pub(super) fn pickle(value: &Py) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(&mut out, value);
    out.push(b'.');
    out
}

fn write(out: &mut Vec<u8>, value: &Py) {
    match value {
        Py::None => out.push(b'N'),
        Py::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Py::Int(value) => {
            out.extend([0x8a, 8]);
            out.extend(value.to_le_bytes());
        }
        Py::Str(text) => {
            out.push(b'X');
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        Py::List(items) => {
            out.extend(b"](");
            items.iter().for_each(|item| write(out, item));
            out.push(b'e');
        }
        Py::Tuple(items) => {
            out.push(b'(');
            items.iter().for_each(|item| write(out, item));
            out.push(b't');
        }
        Py::Dict(pairs) => {
            out.push(b'}');
            write_pairs(out, pairs);
        }
        Py::Global(module, name) => {
            write!(out, "c{module}\n{name}\n").expect("a vector takes everything");
        }
        Py::Call(function, arguments) => {
            write(out, function);
            write(out, &Py::Tuple(arguments.clone()));
            out.push(b'R');
        }
        Py::Ordered(pairs) => {
            out.extend(b"ccollections\nOrderedDict\n)R");
            write_pairs(out, pairs);
            out.extend(b"}b");
        }
        Py::Persistent(id) => {
            write(out, id);
            out.push(b'Q');
        }
    }
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[(Py, Py)]) {
    out.push(b'(');
    for (key, value) in pairs {
        write(out, key);
        write(out, value);
    }
    out.push(b'u');
}

/// A torch file being put together.
#[derive(Default)]
pub(super) struct TorchFile {
    /// Element size and bytes.
    pub(super) storages: Vec<(usize, Vec<u8>)>,
    legacy: bool,
}

impl TorchFile {
    pub(super) fn legacy() -> Self {
        Self {
            legacy: true,
            ..Self::default()
        }
    }

    /// Stores bytes and gives the persistent id.
    pub(super) fn storage(&mut self, class: &'static str, size: usize, bytes: Vec<u8>) -> Py {
        let key = self.storages.len().to_string();
        let count = bytes.len() / size;
        self.storages.push((size, bytes));
        let mut id = vec![
            Py::str("storage"),
            Py::Global("torch", class),
            Py::Str(key),
            Py::str("cpu"),
            Py::Int(count as i64),
        ];
        if self.legacy {
            id.push(Py::None);
        }
        Py::Persistent(Box::new(Py::Tuple(id)))
    }

    /// A row-major float32 tensor.
    pub(super) fn float(&mut self, shape: &[usize], values: &[f32]) -> Py {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let storage = self.storage("FloatStorage", 4, bytes);
        view(storage, 0, shape, &row_major(shape))
    }

    /// A row-major float16 tensor.
    pub(super) fn half(&mut self, shape: &[usize], values: &[f32]) -> Py {
        let halves = values.iter().map(|v| f16::from_f32(*v));
        let bytes = halves.flat_map(f16::to_le_bytes).collect();
        let storage = self.storage("HalfStorage", 2, bytes);
        view(storage, 0, shape, &row_major(shape))
    }

    /// An int64 scalar.
    pub(super) fn counter(&mut self, value: i64) -> Py {
        let storage = self.storage("LongStorage", 8, value.to_le_bytes().to_vec());
        view(storage, 0, &[], &[])
    }

    /// All tensors as an ordered dict, in float32.
    pub(super) fn state_dict(&mut self, weights: &Weights) -> Py {
        self.named(weights, |file, shape, values| file.float(shape, values))
    }

    /// All tensors as an ordered dict, each written by `tensor`.
    pub(super) fn named(
        &mut self,
        weights: &Weights,
        tensor: impl Fn(&mut Self, &[usize], &[f32]) -> Py,
    ) -> Py {
        let mut pairs = Vec::new();
        for (name, stored) in &weights.tensors {
            let TensorData::F32(values) = &stored.data else {
                panic!("{name} is not float32");
            };
            pairs.push((Py::str(name), tensor(self, &stored.shape, values)));
        }
        Py::Ordered(pairs)
    }

    /// The zip format.
    pub(super) fn zip(&self, root: &Py) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let mut entry = |name: String, bytes: &[u8]| {
            zip.start_file(name, options).expect("entry");
            zip.write_all(bytes).expect("entry bytes");
        };
        entry("archive/data.pkl".into(), &pickle(root));
        entry("archive/byteorder".into(), b"little");
        for (key, (_, bytes)) in self.storages.iter().enumerate() {
            entry(format!("archive/data/{key}"), bytes);
        }
        entry("archive/version".into(), b"3\n");
        zip.finish().expect("archive").into_inner()
    }

    /// The format before torch 1.6.
    pub(super) fn old(&self, root: &Py) -> Vec<u8> {
        let mut out = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
        out.extend(pickle(&Py::Int(1001)));
        out.extend(pickle(&Py::dict(vec![("little_endian", Py::Bool(true))])));
        out.extend(pickle(root));
        let keys = 0..self.storages.len();
        out.extend(pickle(&Py::List(
            keys.map(|key| Py::Str(key.to_string())).collect(),
        )));
        for (size, bytes) in &self.storages {
            out.extend(((bytes.len() / size) as u64).to_le_bytes());
            out.extend(bytes);
        }
        out
    }
}

/// `torch._utils._rebuild_tensor_v2`.
pub(super) fn view(storage: Py, offset: usize, shape: &[usize], strides: &[usize]) -> Py {
    let function = Py::Global("torch._utils", "_rebuild_tensor_v2");
    let arguments = vec![
        storage,
        Py::Int(offset as i64),
        Py::ints(shape),
        Py::ints(strides),
        Py::Bool(false),
        Py::Ordered(Vec::new()),
    ];
    Py::Call(Box::new(function), arguments)
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
