//! Python pickles as inert data: bytes in, a graph of plain nodes out.
//!
//! Nothing is imported, constructed or called. A `GLOBAL` becomes the *name* of a class or function, a
//! `REDUCE` becomes a [`Node::Call`] that says what would have been called with what, and the reader of
//! the graph decides which names it knows. Nodes live in one arena and refer to each other by index, so
//! recursive objects cost nothing and dropping the deepest graph needs no stack.
//!
//! Source: CPython `Lib/pickletools.py`, protocols 0 to 5.

mod bytes;
mod machine;
mod text;

use std::fmt;

pub(super) use machine::read;

/// Place of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits; larger ones are [`Node::Other`].
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes, a bytearray, or a Python 2 string that is not UTF-8.
    Bytes(Vec<u8>),
    /// A list, set or frozenset.
    List(Vec<NodeId>),
    /// A tuple.
    Tuple(Vec<NodeId>),
    /// A dict in order of insertion; a later pair of the same key wins.
    Dict(Vec<(NodeId, NodeId)>),
    /// The name of a class or function. It is a name and nothing else.
    Global {
        /// Module path.
        module: String,
        /// Qualified name.
        name: String,
    },
    /// What a file stores beside the pickle, by its identifier.
    Persistent(NodeId),
    /// What would have been `function(*arguments)`, with what was put in later.
    Call {
        /// Usually a [`Node::Global`].
        function: NodeId,
        /// Usually a [`Node::Tuple`].
        arguments: NodeId,
        /// Pairs set on the object.
        pairs: Vec<(NodeId, NodeId)>,
    },
    /// A value that nothing here needs, for example an integer of more than 64 bits.
    Other,
}

/// All values of one pickle.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    root: NodeId,
}

impl Graph {
    /// The pickled object.
    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    /// The node at `id`; ids come from the same graph.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Other)
    }

    /// Every node, in the order in which the pickle made them.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The pairs of a dict, an `OrderedDict`, or any other object that pairs were set on.
    pub(super) fn pairs(&self, id: NodeId) -> Option<&[(NodeId, NodeId)]> {
        match self.node(id) {
            Node::Dict(pairs) => Some(pairs),
            Node::Call { pairs, .. } if !pairs.is_empty() || self.is_mapping_call(id) => {
                Some(pairs)
            }
            _ => None,
        }
    }

    fn is_mapping_call(&self, id: NodeId) -> bool {
        matches!(
            self.call(id),
            Some(("collections", "OrderedDict" | "defaultdict", _))
        )
    }

    /// The value under a text key; the last one wins.
    pub(super) fn get(&self, dict: NodeId, key: &str) -> Option<NodeId> {
        let pairs = self.pairs(dict)?;
        let found = pairs.iter().rev().find(|(k, _)| self.text(*k) == Some(key));
        found.map(|(_, value)| *value)
    }

    /// A string.
    pub(super) fn text(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer.
    pub(super) fn int(&self, id: NodeId) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub(super) fn global(&self, id: NodeId) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// Module, name and arguments of a call of a named function.
    pub(super) fn call(&self, id: NodeId) -> Option<(&str, &str, &[NodeId])> {
        let Node::Call {
            function,
            arguments,
            ..
        } = self.node(id)
        else {
            return None;
        };
        let (module, name) = self.global(*function)?;
        Some((module, name, self.items(*arguments)?))
    }
}

/// Why bytes are not a pickle that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the pickle: {problem}")]
pub struct PickleError {
    /// Where.
    pub offset: usize,
    /// What.
    pub problem: PickleProblem,
}

/// What is wrong with a pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PickleProblem {
    /// The bytes end in the middle.
    Truncated,
    /// An opcode that a checkpoint has no use for, or no opcode at all.
    Opcode(u8),
    /// An operation found fewer or other things on the stack than it needs.
    Stack(&'static str),
    /// A memo entry that was never made.
    Memo(u64),
    /// A number or string that is not one.
    Literal(&'static str),
    /// More than the reader accepts.
    Limit(&'static str),
}

impl fmt::Display for PickleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the file ends here"),
            Self::Opcode(code) => write!(f, "opcode {code:#04x} is not used by checkpoints"),
            Self::Stack(what) => write!(f, "{what}"),
            Self::Memo(index) => write!(f, "memo entry {index} was never stored"),
            Self::Literal(what) => write!(f, "not a valid {what}"),
            Self::Limit(what) => write!(f, "more than {what}, which no checkpoint has"),
        }
    }
}
