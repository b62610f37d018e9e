//! A checkpoint as `torch.save` writes it: a zip archive with one pickle and a file for each tensor.
//!
//! Source: pickle protocol 2; `torch/serialization.py` of torch 2.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bevfusion::weights::{TensorData, Weights};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes `{"state_dict": OrderedDict(..)}` with every float tensor of `weights` to `path`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_checkpoint(path: &Path, weights: &Weights) -> io::Result<()> {
    let mut zip = ZipWriter::new(File::create(path)?);
    let mut pickle = b"\x80\x02}".to_vec();
    text(&mut pickle, "state_dict");
    pickle.extend(b"ccollections\nOrderedDict\n)R(");
    for (key, (name, tensor)) in weights.tensors.iter().enumerate() {
        let TensorData::F32(values) = &tensor.data else {
            continue;
        };
        text(&mut pickle, name);
        tensor_of(&mut pickle, &key.to_string(), &tensor.shape, values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&mut zip, &format!("archive/data/{key}"), &bytes)?;
    }
    pickle.extend(b"us.");
    entry(&mut zip, "archive/data.pkl", &pickle)?;
    entry(&mut zip, "archive/byteorder", b"little")?;
    entry(&mut zip, "archive/version", b"3\n")?;
    zip.finish()?;
    Ok(())
}

fn entry(zip: &mut ZipWriter<File>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file(name, options)?;
    zip.write_all(bytes)
}

/// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
fn tensor_of(pickle: &mut Vec<u8>, key: &str, shape: &[usize], count: usize) {
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, key);
    text(pickle, "cpu");
    integer(pickle, count);
    pickle.extend(b"tQ");
    integer(pickle, 0);
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    for extents in [shape, &strides] {
        pickle.push(b'(');
        extents.iter().for_each(|extent| integer(pickle, *extent));
        pickle.push(b't');
    }
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn integer(pickle: &mut Vec<u8>, value: usize) {
    pickle.extend([0x8a, 8]);
    pickle.extend((value as u64).to_le_bytes());
}
