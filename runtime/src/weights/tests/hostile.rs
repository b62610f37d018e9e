//! Pickles made to do harm, and random bytes: nothing is run, nothing panics.

use std::fs;
use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_oneof, proptest};

use super::writer::{Py, TorchFile, pickle, view};
use crate::weights::pickle::{Graph, read};
use crate::weights::{Checkpoint, PickleProblem, StateDict};

fn graph(bytes: &[u8]) -> Graph {
    read(bytes).expect("a pickle").0
}

#[test]
fn a_call_of_os_system_stays_a_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let canary = folder.path().join("executed");
    let command = format!("touch {}", canary.display());
    let call = Py::Call(
        Box::new(Py::Global("posix", "system")),
        vec![Py::Str(command.clone())],
    );
    let graph = graph(&pickle(&call));
    let (module, name, arguments) = graph.call(graph.root()).expect("an inert call");
    assert_eq!((module, name), ("posix", "system"));
    assert_eq!(graph.text(arguments[0]), Some(command.as_str()));

    let mut file = TorchFile::default();
    let root = Py::dict(vec![
        ("meta", call),
        (
            "state_dict",
            Py::dict(vec![("x", file.float(&[1], &[5.0]))]),
        ),
    ]);
    let path = folder.path().join("evil.pth");
    fs::write(&path, file.zip(&root)).expect("checkpoint");
    let mut checkpoint = Checkpoint::open(&path, StateDict::Model).expect("weights are readable");
    checkpoint.read("x").expect("x");
    assert!(!canary.exists(), "the command was run");
}

#[test]
fn recursive_and_deep_objects_cost_no_stack() {
    // A list that holds itself, memoised before it is filled.
    let graph = graph(b"\x80\x02]q\x00h\x00a.");
    assert_eq!(graph.items(graph.root()), Some(&[graph.root()][..]));

    let depth = 1_000_000;
    let mut nested = vec![b')'; 1];
    nested.extend(std::iter::repeat_n(0x85, depth));
    nested.push(b'.');
    drop(read(&nested).expect("nested tuples"));
    let marks = vec![b'('; 20_000];
    assert!(read(&marks).is_err());
}

#[test]
fn numpy_values_of_an_optimiser_stay_inert() {
    // numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), b'b') with a state of raw bytes.
    let mut bytes = b"\x80\x02}X\x02\x00\x00\x00lrcnumpy.core.multiarray\n_reconstruct\n".to_vec();
    bytes.extend(b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x02\x85C\x08\x00\x01\x02\x03\x04\x05\x06\x07tbs.");
    let graph = graph(&bytes);
    let value = graph.get(graph.root(), "lr").expect("lr");
    let (module, name, _) = graph.call(value).expect("an inert call");
    assert_eq!((module, name), ("numpy.core.multiarray", "_reconstruct"));
}

#[test]
fn protocols_zero_to_five_are_read() {
    // {'a': [1, 2.5, None, True, (b'x',)]} as CPython writes it.
    let zero = b"(dp0\nVa\np1\n(lp2\nI1\naF2.5\naNaI01\nag1\nas.";
    let four = b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01G@\x04\x00\x00\x00\x00\x00\x00N\x88h\x01es.";
    for bytes in [&zero[..], &four[..]] {
        let graph = graph(bytes);
        let list = graph.get(graph.root(), "a").expect("a");
        let items = graph.items(list).expect("a list");
        assert_eq!(items.len(), 5);
        assert_eq!(graph.int(items[0]), Some(1));
        assert_eq!(graph.text(items[4]), Some("a"));
    }
}

#[test]
fn broken_pickles_say_what_is_wrong() {
    let problem = |bytes: &[u8]| read(bytes).expect_err("broken").problem;
    assert_eq!(problem(b""), PickleProblem::Truncated);
    assert_eq!(
        problem(b"\x80\x02X\xff\xff\xff\xffa"),
        PickleProblem::Truncated
    );
    assert_eq!(problem(b"h\x07."), PickleProblem::Memo(7));
    assert_eq!(problem(b"\x97."), PickleProblem::Opcode(0x97));
    assert_eq!(problem(b"\x82\x01."), PickleProblem::Opcode(0x82));
    assert!(matches!(problem(b"."), PickleProblem::Stack(_)));
    assert!(matches!(problem(b"R"), PickleProblem::Stack(_)));
    assert!(matches!(problem(b"(a."), PickleProblem::Stack(_)));
    assert!(matches!(problem(b"}(Nu."), PickleProblem::Stack(_)));
    assert!(matches!(problem(b"\x80\x09."), PickleProblem::Literal(_)));
    assert!(matches!(problem(b"Iabc\n."), PickleProblem::Literal(_)));
}

#[test]
fn a_small_file_cannot_ask_for_much_memory() {
    let millions = 1 << 21;
    for (shape, strides) in [
        (vec![1 << 30], vec![0]),
        (vec![millions, 1], vec![0, 7]),
        (vec![2048, 2048], vec![1, 1]),
    ] {
        let mut file = TorchFile::default();
        let storage = file.storage("FloatStorage", 4, vec![0; 4 * 5000]);
        let root = Py::dict(vec![("x", view(storage, 0, &shape, &strides))]);
        let path = Path::new("repeated.pth");
        let mut checkpoint =
            Checkpoint::from_bytes(path, file.zip(&root), StateDict::Model).expect("file");
        let error = checkpoint.read("x").expect_err("repeated").to_string();
        assert!(
            error.contains("repeats its storage's 5000 elements"),
            "{error}"
        );
    }
}

#[test]
fn a_storage_key_that_every_tensor_would_copy_is_short() {
    let id = |key: String| {
        let class = Py::Global("torch", "FloatStorage");
        let id = vec![Py::str("storage"), class, Py::Str(key), Py::str("cpu")];
        Py::Persistent(Box::new(Py::Tuple([id, vec![Py::Int(1)]].concat())))
    };
    let opened = |key: String| {
        let root = Py::dict(vec![("x", view(id(key), 0, &[1], &[1]))]);
        let bytes = TorchFile::default().zip(&root);
        Checkpoint::from_bytes(Path::new("key.pth"), bytes, StateDict::Model)
    };
    assert!(opened("7".repeat(20)).is_ok());
    let error = opened("7".repeat(60_000)).err().expect("refused");
    assert!(error.to_string().contains("longer than 128"), "{error}");
}

/// Bytes rich in opcodes.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let codes = b"(.012FGIJKLMNPQRSTUVX]abcdeghijlopqrstu}BC)\x80\x81\x85\x86\x87\x88\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95\x96";
    let byte = prop_oneof![
        3 => prop::sample::select(codes.to_vec()),
        1 => any::<u8>(),
        1 => Just(0_u8),
    ];
    prop::collection::vec(byte, 0..200)
}

fn small_file() -> (Vec<u8>, Vec<u8>) {
    let mut file = TorchFile::default();
    let root = Py::dict(vec![("x", file.float(&[2, 3], &[1.0; 6]))]);
    let mut old = TorchFile::legacy();
    let old_root = Py::dict(vec![("x", old.float(&[2, 3], &[1.0; 6]))]);
    (file.zip(&root), old.old(&old_root))
}

proptest! {
    #[test]
    fn no_bytes_make_the_machine_panic(bytes in opcodes()) {
        // Either outcome is right; a panic is not.
        drop(read(&bytes));
    }

    #[test]
    fn no_damage_makes_a_checkpoint_panic(
        legacy in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let (zip, old) = small_file();
        let mut bytes = if legacy { old } else { zip };
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let read = Checkpoint::from_bytes(Path::new("damaged.pth"), bytes, StateDict::Model);
        if let Ok(mut checkpoint) = read {
            for name in checkpoint.shapes().into_keys() {
                drop(checkpoint.read(&name));
            }
        }
    }
}
