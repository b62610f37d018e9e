//! The pickle machine: a stack, a memo and an arena of nodes.
//!
//! Every opcode consumes at least one byte and makes at most one node, so time and memory are bounded by
//! the length of the input; the limits below bound them further.

use std::collections::BTreeMap;

use super::bytes::Bytes;
use super::{Graph, Node, NodeId, PickleError, PickleProblem, text};

/// Nodes of one pickle. A full-size training checkpoint with its optimiser has some ten thousand.
const MAX_NODES: usize = 1 << 22;
/// Open marks, that is nested containers.
const MAX_MARKS: usize = 10_000;
/// Bytes of a class name; a name is copied each time it is used.
const MAX_NAME: usize = 1024;
/// Newest protocol.
const MAX_PROTOCOL: u8 = 5;

/// Reads the pickle at the start of `data`; returns it and the bytes that it took.
///
/// # Errors
/// When the bytes are not a pickle, use an opcode that checkpoints do not, or exceed a limit.
pub(in crate::weights) fn read(data: &[u8]) -> Result<(Graph, usize), PickleError> {
    let mut machine = Machine {
        bytes: Bytes::new(data),
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    while machine.step()? == Flow::Continue {}
    let root = machine.pop()?;
    let taken = machine.bytes.position();
    let nodes = machine.nodes;
    Ok((Graph { nodes, root }, taken))
}

#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: BTreeMap<u64, NodeId>,
}

type Done = Result<(), PickleError>;

impl Machine<'_> {
    fn step(&mut self) -> Result<Flow, PickleError> {
        let code = self.bytes.u8()?;
        match code {
            b'.' => return Ok(Flow::Stop),
            0x80 => self.protocol()?,
            0x95 => drop(self.bytes.u64()?),
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => {
                let node = self.number(code)?;
                self.push(node)?;
            }
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                let node = self.string(code)?;
                self.push(node)?;
            }
            b'(' | b'0' | b'1' | b'2' => self.shuffle(code)?,
            b'p' | b'q' | b'r' | 0x94 => self.store(code)?,
            b'g' | b'h' | b'j' => self.fetch(code)?,
            b')' | b']' | b'}' | 0x8f | b't' | b'l' | b'd' | 0x91 | 0x85 | 0x86 | 0x87 => {
                let node = self.container(code)?;
                self.push(node)?;
            }
            b'a' | b'e' | 0x90 => self.append(code)?,
            b's' | b'u' => self.set(code)?,
            b'c' | 0x93 | b'P' | b'Q' | b'R' | 0x81 | 0x92 | b'i' | b'o' => {
                let node = self.object(code)?;
                self.push(node)?;
            }
            b'b' => self.build()?,
            other => return Err(self.bytes.error(PickleProblem::Opcode(other))),
        }
        Ok(Flow::Continue)
    }

    fn protocol(&mut self) -> Done {
        if self.bytes.u8()? > MAX_PROTOCOL {
            return Err(self.bytes.error(PickleProblem::Literal("protocol number")));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<NodeId, PickleError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(self.bytes.error(PickleProblem::Limit("4 million values")));
        }
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() as u32 - 1))
    }

    fn push(&mut self, node: Node) -> Done {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn stack_error<T>(&self, what: &'static str) -> Result<T, PickleError> {
        Err(self.bytes.error(PickleProblem::Stack(what)))
    }

    fn literal<T>(&self, value: Option<T>, what: &'static str) -> Result<T, PickleError> {
        value.ok_or_else(|| self.bytes.error(PickleProblem::Literal(what)))
    }

    /// Takes the top; never below the last mark.
    fn pop(&mut self) -> Result<NodeId, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return self.stack_error("a value is needed where there is none");
        }
        match self.stack.pop() {
            Some(id) => Ok(id),
            None => self.stack_error("a value is needed where there is none"),
        }
    }

    fn top(&self) -> Result<NodeId, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.get(floor..).and_then(<[NodeId]>::last) {
            Some(id) => Ok(*id),
            None => self.stack_error("a value is needed where there is none"),
        }
    }

    /// Takes everything above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<NodeId>, PickleError> {
        match self.marks.pop() {
            Some(at) => Ok(self.stack.split_off(at.min(self.stack.len()))),
            None => self.stack_error("a mark is needed where there is none"),
        }
    }

    fn number(&mut self, code: u8) -> Result<Node, PickleError> {
        let bytes = &mut self.bytes;
        Ok(match code {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i32::from_le_bytes(bytes.array()?).into()),
            b'K' => Node::Int(bytes.u8()?.into()),
            b'M' => Node::Int(bytes.u16()?.into()),
            0x8a => {
                let length = bytes.u8()?;
                text::packed_integer(bytes.take(length.into())?)
            }
            0x8b => {
                let length = bytes.u32()?;
                text::packed_integer(bytes.take(length.into())?)
            }
            b'G' => Node::Float(f64::from_be_bytes(bytes.array()?)),
            b'F' => {
                let line = bytes.line()?;
                Node::Float(self.literal(text::float(line), "float")?)
            }
            _ => {
                let line = bytes.line()?;
                self.literal(text::integer(line), "integer")?
            }
        })
    }

    fn string(&mut self, code: u8) -> Result<Node, PickleError> {
        if matches!(code, b'S' | b'V') {
            let line = self.bytes.line()?;
            return match code {
                b'S' => self.literal(text::quoted(line), "string"),
                _ => self.literal(text::raw_unicode(line).map(Node::Text), "string"),
            };
        }
        let length = match code {
            b'U' | 0x8c | b'C' => self.bytes.u8()?.into(),
            b'T' | b'X' | b'B' => self.bytes.u32()?.into(),
            _ => self.bytes.u64()?,
        };
        let raw = self.bytes.take(length)?;
        Ok(match code {
            b'U' | b'T' => text::string(raw),
            // Python lets lone surrogates through; no tensor is named with them.
            b'X' | 0x8c | 0x8d => Node::Text(String::from_utf8_lossy(raw).into_owned()),
            _ => Node::Bytes(raw.to_owned()),
        })
    }

    fn shuffle(&mut self, code: u8) -> Done {
        match code {
            b'(' if self.marks.len() >= MAX_MARKS => {
                return Err(self
                    .bytes
                    .error(PickleProblem::Limit("10 000 nested values")));
            }
            b'(' => self.marks.push(self.stack.len()),
            // POP on a mark takes the mark.
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            _ => self.stack.push(self.top()?),
        }
        Ok(())
    }

    fn store(&mut self, code: u8) -> Done {
        let index = match code {
            b'q' => self.bytes.u8()?.into(),
            b'r' => self.bytes.u32()?.into(),
            b'p' => self.index_line()?,
            _ => self.memo.len() as u64,
        };
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn fetch(&mut self, code: u8) -> Done {
        let index = match code {
            b'h' => self.bytes.u8()?.into(),
            b'j' => self.bytes.u32()?.into(),
            _ => self.index_line()?,
        };
        let Some(id) = self.memo.get(&index) else {
            return Err(self.bytes.error(PickleProblem::Memo(index)));
        };
        self.stack.push(*id);
        Ok(())
    }

    fn index_line(&mut self) -> Result<u64, PickleError> {
        let line = self.bytes.line()?;
        let value = std::str::from_utf8(line).ok().and_then(|t| t.parse().ok());
        self.literal(value, "memo index")
    }

    fn container(&mut self, code: u8) -> Result<Node, PickleError> {
        Ok(match code {
            b')' => Node::Tuple(Vec::new()),
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b't' => Node::Tuple(self.pop_mark()?),
            b'l' | 0x91 => Node::List(self.pop_mark()?),
            b'd' => {
                let items = self.pop_mark()?;
                Node::Dict(self.pairs(&items)?)
            }
            _ => {
                let mut items = Vec::new();
                for _ in 0x85..=code {
                    items.push(self.pop()?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        })
    }

    fn pairs(&self, items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, PickleError> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.stack_error("a key has no value");
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)
    }

    /// Appends to a list or set; what is appended to another object is dropped.
    fn append(&mut self, code: u8) -> Done {
        let items = match code {
            b'a' => vec![self.pop()?],
            _ => self.pop_mark()?,
        };
        let target = self.top()?;
        if let Some(Node::List(list)) = self.node_mut(target) {
            list.extend(items);
        }
        Ok(())
    }

    /// Sets pairs of a dict or of an object.
    fn set(&mut self, code: u8) -> Done {
        let new = match code {
            b's' => {
                let value = self.pop()?;
                vec![(self.pop()?, value)]
            }
            _ => {
                let items = self.pop_mark()?;
                self.pairs(&items)?
            }
        };
        let target = self.top()?;
        if let Some(Node::Dict(pairs) | Node::Call { pairs, .. }) = self.node_mut(target) {
            pairs.extend(new);
        }
        Ok(())
    }

    /// State of an object: nothing here needs it, and nothing is run with it.
    fn build(&mut self) -> Done {
        self.pop()?;
        self.top().map(drop)
    }

    fn object(&mut self, code: u8) -> Result<Node, PickleError> {
        Ok(match code {
            b'c' => self.global_lines()?,
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.stack_global(module, name)?
            }
            b'P' => {
                let line = self.bytes.line()?;
                let id = self.add(text::string(line))?;
                Node::Persistent(id)
            }
            b'Q' => Node::Persistent(self.pop()?),
            b'i' => {
                let class = self.global_lines()?;
                let arguments = self.pop_mark()?;
                let function = self.add(class)?;
                self.call(function, Node::Tuple(arguments))?
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return self.stack_error("an object has no class");
                }
                let function = items.remove(0);
                self.call(function, Node::Tuple(items))?
            }
            // NEWOBJ_EX has keyword arguments on top; they are dropped.
            0x92 => {
                self.pop()?;
                self.reduce()?
            }
            _ => self.reduce()?,
        })
    }

    fn reduce(&mut self) -> Result<Node, PickleError> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        Ok(Node::Call {
            function,
            arguments,
            pairs: Vec::new(),
        })
    }

    fn call(&mut self, function: NodeId, arguments: Node) -> Result<Node, PickleError> {
        let arguments = self.add(arguments)?;
        Ok(Node::Call {
            function,
            arguments,
            pairs: Vec::new(),
        })
    }

    fn global_lines(&mut self) -> Result<Node, PickleError> {
        let (module, name) = (self.bytes.line()?, self.bytes.line()?);
        Ok(Node::Global {
            module: String::from_utf8_lossy(module).into_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    fn stack_global(&mut self, module: NodeId, name: NodeId) -> Result<Node, PickleError> {
        let text = |id: NodeId| match self.nodes.get(id.0 as usize) {
            Some(Node::Text(text)) if text.len() <= MAX_NAME => Some(text.clone()),
            _ => None,
        };
        match (text(module), text(name)) {
            (Some(module), Some(name)) => Ok(Node::Global { module, name }),
            _ => self.stack_error("a class is not named by two short strings"),
        }
    }
}
