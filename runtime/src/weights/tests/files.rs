//! Torch files: what is read, and what is said about damaged ones.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::writer::{Py, TorchFile, pickle, view};
use crate::weights::{Checkpoint, StateDict, TensorData, WeightsError};

struct Written {
    _folder: TempDir,
    path: PathBuf,
}

fn written(bytes: &[u8]) -> Written {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("epoch_20.pth");
    fs::write(&path, bytes).expect("checkpoint");
    Written {
        _folder: folder,
        path,
    }
}

fn opened(bytes: &[u8]) -> Result<Checkpoint, WeightsError> {
    Checkpoint::open(&written(bytes).path, StateDict::Model)
}

fn message(bytes: &[u8]) -> String {
    match opened(bytes) {
        Ok(_) => panic!("a bad file was accepted"),
        Err(error) => error.to_string(),
    }
}

fn floats(checkpoint: &mut Checkpoint, name: &str) -> Vec<f32> {
    match checkpoint.read(name).expect(name).data {
        TensorData::F32(values) => values,
        TensorData::I64(_) => panic!("{name} is not a float"),
    }
}

#[test]
fn both_torch_formats_give_the_same_tensors() {
    for legacy in [false, true] {
        let mut file = if legacy {
            TorchFile::legacy()
        } else {
            TorchFile::default()
        };
        let dict = Py::Ordered(vec![
            (Py::str("a"), file.float(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            (Py::str("b"), file.half(&[3], &[0.5, -2.0, 65504.0])),
            (Py::str("count"), file.counter(7)),
        ]);
        let root = Py::dict(vec![("meta", Py::None), ("state_dict", dict)]);
        let bytes = if legacy {
            file.old(&root)
        } else {
            file.zip(&root)
        };
        let written = written(&bytes);
        let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
        assert_eq!(checkpoint.state_dict(), "state_dict");
        assert_eq!(floats(&mut checkpoint, "a"), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(floats(&mut checkpoint, "b"), [0.5, -2.0, 65504.0]);
        let count = checkpoint.read("count").expect("count");
        assert_eq!(count.shape, [0_usize; 0]);
        assert_eq!(count.data, TensorData::I64(vec![7]));
        assert!(checkpoint.read("c").is_err());
    }
}

#[test]
fn bytes_and_a_file_of_them_are_the_same_checkpoint() {
    let mut zip = TorchFile::default();
    let mut old = TorchFile::legacy();
    let root = |file: &mut TorchFile| Py::dict(vec![("x", file.float(&[2], &[1.0, 2.0]))]);
    let (zip_root, old_root) = (root(&mut zip), root(&mut old));
    let header = br#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut native = (header.len() as u64).to_le_bytes().to_vec();
    native.extend(header);
    native.extend([1.0_f32, 2.0].iter().flat_map(|v| v.to_le_bytes()));
    for bytes in [zip.zip(&zip_root), old.old(&old_root), native] {
        let written = written(&bytes);
        let mut of_file = Checkpoint::open(&written.path, StateDict::Model).expect("file");
        let mut of_bytes =
            Checkpoint::from_bytes(&written.path, bytes, StateDict::Model).expect("bytes");
        assert_eq!(of_bytes.shapes(), of_file.shapes());
        assert_eq!(floats(&mut of_bytes, "x"), [1.0, 2.0]);
        assert_eq!(floats(&mut of_file, "x"), [1.0, 2.0]);
    }
}

#[test]
fn a_name_of_prefixes_only_loses_eight() {
    let mut file = TorchFile::default();
    let name = format!("{}x", "module.".repeat(10));
    let root = Py::dict(vec![(&name, file.float(&[1], &[1.0]))]);
    let written = written(&file.zip(&root));
    let checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
    let names: Vec<String> = checkpoint.shapes().into_keys().collect();
    assert_eq!(names, ["module.module.x"]);
}

#[test]
fn views_of_one_storage_are_made_row_major() {
    let mut file = TorchFile::default();
    let bytes: Vec<u8> = (0..12).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let storage = file.storage("FloatStorage", 4, bytes);
    let dict = Py::Ordered(vec![
        (Py::str("rows"), view(storage.clone(), 6, &[2, 3], &[3, 1])),
        (
            Py::str("transposed"),
            view(storage.clone(), 0, &[3, 2], &[1, 3]),
        ),
        (
            Py::str("repeated"),
            view(storage.clone(), 4, &[2, 2], &[0, 1]),
        ),
        (Py::str("none"), view(storage, 12, &[0, 5], &[5, 1])),
    ]);
    let written = written(&file.zip(&dict));
    let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
    assert_eq!(checkpoint.state_dict(), "the whole file");
    assert_eq!(
        floats(&mut checkpoint, "rows"),
        [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    );
    assert_eq!(
        floats(&mut checkpoint, "transposed"),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    assert_eq!(floats(&mut checkpoint, "repeated"), [4.0, 5.0, 4.0, 5.0]);
    assert!(floats(&mut checkpoint, "none").is_empty());
}

#[test]
fn every_element_type_is_converted() {
    let cases: [(&'static str, Vec<u8>, TensorData); 7] = [
        (
            "DoubleStorage",
            1.5_f64.to_le_bytes().to_vec(),
            TensorData::F32(vec![1.5]),
        ),
        (
            "BFloat16Storage",
            vec![0xc0, 0x3f],
            TensorData::F32(vec![1.5]),
        ),
        (
            "IntStorage",
            (-3_i32).to_le_bytes().to_vec(),
            TensorData::I64(vec![-3]),
        ),
        (
            "ShortStorage",
            (-3_i16).to_le_bytes().to_vec(),
            TensorData::I64(vec![-3]),
        ),
        ("CharStorage", vec![0xfd], TensorData::I64(vec![-3])),
        ("ByteStorage", vec![0xfd], TensorData::I64(vec![253])),
        ("BoolStorage", vec![1], TensorData::I64(vec![1])),
    ];
    for (class, bytes, expected) in cases {
        let mut file = TorchFile::default();
        let storage = file.storage(class, bytes.len(), bytes);
        let root = Py::dict(vec![("x", view(storage, 0, &[1], &[1]))]);
        let written = written(&file.zip(&root));
        let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect(class);
        assert_eq!(checkpoint.read("x").expect(class).data, expected, "{class}");
    }
}

#[test]
fn parameters_and_attributes_around_tensors_are_seen_through() {
    let mut file = TorchFile::default();
    let tensor = file.float(&[1], &[9.0]);
    let parameter = Py::Global("torch._utils", "_rebuild_parameter");
    let arguments = vec![tensor, Py::Bool(true), Py::Ordered(vec![])];
    let root = Py::dict(vec![("x", Py::Call(Box::new(parameter), arguments))]);
    let written = written(&file.zip(&root));
    let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
    assert_eq!(floats(&mut checkpoint, "x"), [9.0]);
}

#[test]
fn a_view_beyond_its_storage_is_refused() {
    let mut file = TorchFile::default();
    let storage = file.storage("FloatStorage", 4, vec![0; 16]);
    let cases = [
        (0, vec![5], vec![1]),
        (4, vec![1], vec![1]),
        (0, vec![2, 2], vec![3, 1]),
        (usize::MAX >> 1, vec![2], vec![usize::MAX >> 1]),
        (0, vec![1 << 40, 1 << 40], vec![0, 0]),
    ];
    for (offset, shape, strides) in cases {
        let root = Py::dict(vec![("x", view(storage.clone(), offset, &shape, &strides))]);
        let written = written(&file.zip(&root));
        let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
        let error = checkpoint.read("x").expect_err("beyond").to_string();
        assert!(
            error.contains("\"x\"") && error.contains(&format!("{shape:?}")),
            "{error}"
        );
    }
}

#[test]
fn a_truncated_zip_names_the_file() {
    let mut file = TorchFile::default();
    let root = Py::dict(vec![("x", file.float(&[64], &[1.0; 64]))]);
    let bytes = file.zip(&root);
    let error = message(&bytes[..bytes.len() / 2]);
    assert!(
        error.contains("epoch_20.pth") && error.contains("incomplete"),
        "{error}"
    );
}

#[test]
fn a_flipped_byte_in_a_storage_names_the_entry() {
    let mut file = TorchFile::default();
    let root = Py::dict(vec![("x", file.float(&[64], &[1.25; 64]))]);
    let mut bytes = file.zip(&root);
    let stored = 1.25_f32.to_le_bytes();
    let at = bytes
        .windows(4)
        .position(|w| w == stored)
        .expect("stored values");
    bytes[at] ^= 1;
    let written = written(&bytes);
    let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
    let error = checkpoint.read("x").expect_err("damaged").to_string();
    assert!(
        error.contains("archive/data/0") && error.contains("damaged"),
        "{error}"
    );
}

#[test]
fn a_short_or_absent_storage_names_the_entry() {
    let mut file = TorchFile::default();
    let root = Py::dict(vec![("x", file.float(&[4], &[1.0; 4]))]);
    file.storages[0].1.truncate(8);
    let written_short = written(&file.zip(&root));
    file.storages.clear();
    let written_absent = written(&file.zip(&root));
    for (written, words) in [
        (written_short, "truncated"),
        (written_absent, "cannot be read"),
    ] {
        let mut checkpoint = Checkpoint::open(&written.path, StateDict::Model).expect("file");
        let error = checkpoint.read("x").expect_err(words).to_string();
        assert!(
            error.contains("archive/data/0") && error.contains(words),
            "{error}"
        );
    }
    let mut file = TorchFile::legacy();
    let root = Py::dict(vec![("x", file.float(&[4], &[1.0; 4]))]);
    let bytes = file.old(&root);
    let error = message(&bytes[..bytes.len() - 1]);
    assert!(
        error.contains("entry \"0\"") && error.contains("truncated"),
        "{error}"
    );
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        (&tar, "tar file"),
        (&pickle(&Py::Int(1)), "plain Python pickle"),
        (b"hello, this is text", "first bytes"),
        (b"\x02\0\0\0\0\0\0\0{}", "does not exist"),
    ];
    for (bytes, words) in &cases[..5] {
        let error = message(bytes);
        assert!(error.contains(words), "{error}");
    }
    let empty = opened(cases[5].0).expect("a safetensors file without tensors");
    assert!(empty.shapes().is_empty());
}

#[test]
fn a_file_without_a_state_dict_lists_what_it_has() {
    let root = Py::dict(vec![("epoch", Py::Int(3)), ("lr", Py::None)]);
    let error = message(&TorchFile::default().zip(&root));
    assert!(error.contains("2 keys: \"epoch\", \"lr\""), "{error}");
    let whole = Py::Call(Box::new(Py::Global("models.fusion", "BEVFusion")), vec![]);
    let error = message(&TorchFile::default().zip(&whole));
    assert!(
        error.contains("models.fusion.BEVFusion") && error.contains("model.state_dict()"),
        "{error}"
    );
}

#[test]
fn wrapper_prefixes_are_taken_off() {
    let mut file = TorchFile::default();
    let root = Py::dict(vec![(
        "state_dict",
        Py::Ordered(vec![
            (
                Py::str("module._orig_mod.a.weight"),
                file.float(&[1], &[1.0]),
            ),
            (
                Py::str("module._orig_mod.b.weight"),
                file.float(&[1], &[2.0]),
            ),
            (Py::str("n_averaged"), file.counter(3)),
        ]),
    )]);
    let checkpoint = opened(&file.zip(&root)).expect("file");
    let names: Vec<String> = checkpoint.shapes().into_keys().collect();
    assert_eq!(names, ["a.weight", "b.weight", "n_averaged"]);
}

#[test]
fn averaged_weights_are_found_where_each_framework_puts_them() {
    let read = |root: &Py, file: &TorchFile, wanted| {
        let written = written(&file.zip(root));
        let mut checkpoint = Checkpoint::open(&written.path, wanted)?;
        Ok::<_, WeightsError>(floats(&mut checkpoint, "x"))
    };
    let mut file = TorchFile::default();
    let plain = Py::dict(vec![("x", file.float(&[1], &[1.0]))]);
    let averaged = Py::dict(vec![("module.x", file.float(&[1], &[2.0]))]);
    let both = Py::dict(vec![
        ("state_dict", plain.clone()),
        ("state_dict_ema", averaged),
    ]);
    assert_eq!(read(&both, &file, StateDict::Model).expect("model"), [1.0]);
    assert_eq!(read(&both, &file, StateDict::Averaged).expect("ema"), [2.0]);

    // mmengine swaps: its state_dict holds the average.
    let raw = Py::dict(vec![
        ("module.x", file.float(&[1], &[3.0])),
        ("steps", file.counter(9)),
    ]);
    let mmengine = Py::dict(vec![("state_dict", plain.clone()), ("ema_state_dict", raw)]);
    assert_eq!(
        read(&mmengine, &file, StateDict::Model).expect("model"),
        [1.0]
    );
    assert_eq!(
        read(&mmengine, &file, StateDict::Averaged).expect("ema"),
        [1.0]
    );

    let only = Py::dict(vec![("state_dict", plain)]);
    let error = read(&only, &file, StateDict::Averaged)
        .expect_err("none")
        .to_string();
    assert!(error.contains("averaged"), "{error}");
}
