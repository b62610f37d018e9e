//! The form of a configuration: which keys there are and what type each has.
//!
//! In: a [`Node`] tree and a list of [`Field`]s. Out: a TOML table that has exactly these keys with
//! these types, and every deviation as a problem. A key that is missing or has the wrong type gets a
//! placeholder, so that the rest can be checked in the same pass; such keys are listed in
//! [`Reading::replaced`].

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigProblem;
use super::nearest::nearest;
use super::node::{Node, Value};

/// No count in a model comes near this; sums and products of counts then fit 64 bits.
pub(super) const LARGEST_COUNT: i64 = 1 << 24;

/// No list in a model comes near this: the largest is a matrix over Autoware's ten labels.
pub(super) const LONGEST_LIST: usize = 1024;

/// What may stand at a key.
pub(super) enum Form {
    Flag,
    /// 0 to [`LARGEST_COUNT`].
    Count,
    Integer,
    /// Finite, in single precision too.
    Number,
    /// Not empty.
    Text,
    /// May be empty.
    Path,
    Choice(&'static [&'static str]),
    /// At most [`LONGEST_LIST`] entries.
    List(&'static Form),
    Array(usize, &'static Form),
    Table(&'static [Field]),
    /// A table whose `type` picks the fields.
    Tagged(&'static [(&'static str, &'static [Field])]),
}

/// One key of a table.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) required: bool,
}

pub(super) const fn required(name: &'static str, form: Form) -> Field {
    Field {
        name,
        form,
        required: true,
    }
}

pub(super) const fn optional(name: &'static str, form: Form) -> Field {
    Field {
        name,
        form,
        required: false,
    }
}

impl Form {
    fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count => format!("a whole number from 0 to {LARGEST_COUNT}"),
            Self::Integer => "a whole number".into(),
            Self::Number => "a finite number".into(),
            Self::Text => "a string that is not empty".into(),
            Self::Path => "a string".into(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::List(entry) => format!("a list, each entry {}", entry.describe()),
            Self::Array(length, entry) => format!("{length} entries, each {}", entry.describe()),
            Self::Table(_) => "a table".into(),
            Self::Tagged(variants) => format!("a table with `type`, {}", names(variants)),
        }
    }

    fn placeholder(&self) -> toml::Value {
        match self {
            Self::Flag => false.into(),
            Self::Count | Self::Integer => 1.into(),
            Self::Number => 1.0.into(),
            Self::Text | Self::Path => "unread".into(),
            Self::Choice(names) => names.first().copied().unwrap_or_default().into(),
            Self::List(_) => toml::Value::Array(Vec::new()),
            Self::Array(length, entry) => vec![entry.placeholder(); *length].into(),
            Self::Table(fields) => blank(fields).into(),
            Self::Tagged(variants) => variants.first().map_or(true.into(), |(tag, fields)| {
                let mut table = blank(fields);
                table.insert("type".into(), (*tag).into());
                table.into()
            }),
        }
    }
}

fn blank(fields: &[Field]) -> toml::Table {
    let needed = fields.iter().filter(|field| field.required);
    needed
        .map(|field| (field.name.to_owned(), field.form.placeholder()))
        .collect()
}

fn names(variants: &[(&'static str, &'static [Field])]) -> String {
    let tags: Vec<&str> = variants.iter().map(|(tag, _)| *tag).collect();
    format!("one of {}", tags.join(", "))
}

/// One pass over a tree.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) problems: Vec<ConfigProblem>,
    /// Keys whose value is a placeholder or was misspelt: checks on them would mislead.
    pub(super) replaced: BTreeSet<String>,
    /// Line of each key.
    pub(super) lines: BTreeMap<String, usize>,
}

impl Reading {
    /// Reads the keys of `fields` from `node` at `path`.
    pub(super) fn table(&mut self, path: &str, node: &Node, fields: &[Field]) -> toml::Table {
        let Value::Table(entries) = &node.value else {
            self.wrong(path, node, "a table".into());
            return blank(fields);
        };
        let unknown: Vec<_> = entries
            .iter()
            .filter(|(key, _)| !fields.iter().any(|field| field.name == key))
            .collect();
        let names = fields.iter().map(|field| field.name);
        let absent: Vec<&str> = names
            .filter(|name| !entries.iter().any(|(key, _)| key == name))
            .collect();
        let mut misspelt = Vec::new();
        for (key, entry) in unknown {
            let meant = nearest(key, absent.iter().copied());
            misspelt.extend(meant);
            self.unknown(path, (key, entry.line), meant, fields);
        }
        let mut table = toml::Table::new();
        for field in fields {
            let path = join(path, field.name);
            let value = match entries.iter().find(|(key, _)| key == field.name) {
                Some((_, entry)) => Some(self.value(&path, entry, &field.form)),
                None if misspelt.contains(&field.name) => {
                    self.replaced.insert(path);
                    field.required.then(|| field.form.placeholder())
                }
                None => field
                    .required
                    .then(|| self.missing(&path, node.line, field)),
            };
            table.extend(value.map(|value| (field.name.to_owned(), value)));
        }
        table
    }

    fn value(&mut self, path: &str, node: &Node, form: &Form) -> toml::Value {
        if let Some(line) = node.line {
            self.lines.insert(path.into(), line);
        }
        match (form, &node.value) {
            (Form::Flag, Value::Flag(flag)) => (*flag).into(),
            (Form::Count, Value::Integer(n)) if (0..=LARGEST_COUNT).contains(n) => (*n).into(),
            (Form::Integer, Value::Integer(n)) => (*n).into(),
            (Form::Number, Value::Integer(n)) => (*n as f64).into(),
            (Form::Number, Value::Float(n)) if (*n as f32).is_finite() => (*n).into(),
            (Form::Text, Value::Text(text)) if !text.is_empty() => text.as_str().into(),
            (Form::Path, Value::Text(text)) => text.as_str().into(),
            (Form::Choice(names), Value::Text(text)) if names.contains(&text.as_str()) => {
                text.as_str().into()
            }
            (Form::List(entry), Value::List(entries)) if entries.len() <= LONGEST_LIST => {
                self.list(path, entries, entry)
            }
            (Form::List(_), Value::List(_)) => {
                self.wrong(path, node, format!("at most {LONGEST_LIST} entries"));
                form.placeholder()
            }
            (Form::Array(length, entry), Value::List(entries)) if entries.len() == *length => {
                self.list(path, entries, entry)
            }
            (Form::Table(fields), Value::Table(_)) => self.table(path, node, fields).into(),
            (Form::Tagged(variants), Value::Table(_)) => self.tagged(path, node, variants),
            _ => {
                self.wrong(path, node, form.describe());
                form.placeholder()
            }
        }
    }

    fn list(&mut self, path: &str, entries: &[Node], form: &Form) -> toml::Value {
        let values = entries.iter().enumerate();
        values
            .map(|(i, entry)| self.value(&format!("{path}[{i}]"), entry, form))
            .collect::<Vec<_>>()
            .into()
    }

    fn tagged(
        &mut self,
        path: &str,
        node: &Node,
        variants: &'static [(&'static str, &'static [Field])],
    ) -> toml::Value {
        let form = Form::Tagged(variants);
        let Value::Table(entries) = &node.value else {
            return form.placeholder();
        };
        let tag = entries.iter().find(|(key, _)| key == "type");
        let variant = tag.and_then(|(_, tag)| match &tag.value {
            Value::Text(text) => variants.iter().find(|(name, _)| name == text),
            _ => None,
        });
        let Some((name, fields)) = variant else {
            let nothing = Node {
                line: node.line,
                value: Value::Null,
            };
            let tag = tag.map_or(&nothing, |(_, tag)| tag);
            self.wrong(&join(path, "type"), tag, names(variants));
            self.replaced.insert(path.into());
            return form.placeholder();
        };
        let rest = entries.iter().filter(|(key, _)| key != "type").cloned();
        let rest = Node {
            line: node.line,
            value: Value::Table(rest.collect()),
        };
        let mut table = self.table(path, &rest, fields);
        table.insert("type".into(), (*name).into());
        table.into()
    }

    fn wrong(&mut self, path: &str, node: &Node, expected: String) {
        let key = if path.is_empty() { "(top level)" } else { path };
        self.problems.push(ConfigProblem {
            line: node.line,
            ..ConfigProblem::new(
                key,
                &expected,
                node.value.to_string(),
                format!("write {expected}"),
            )
        });
        self.replaced.insert(path.into());
    }

    fn missing(&mut self, path: &str, line: Option<usize>, field: &Field) -> toml::Value {
        let expected = field.form.describe();
        self.problems.push(ConfigProblem {
            line,
            ..ConfigProblem::new(path, expected, "no such key", format!("add `{path}`"))
        });
        self.replaced.insert(path.into());
        field.form.placeholder()
    }

    fn unknown(
        &mut self,
        path: &str,
        (key, line): (&str, Option<usize>),
        meant: Option<&str>,
        fields: &[Field],
    ) {
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let remedy = match meant.or_else(|| nearest(key, known.iter().copied())) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "remove it".into(),
        };
        let expected = format!("one of {}", known.join(", "));
        self.problems.push(ConfigProblem {
            line,
            ..ConfigProblem::new(join(path, key), expected, "an unknown key", remedy)
        });
    }

    /// Whether the value at `key`, or a part of it, is not the file's.
    pub(super) fn is_replaced(&self, key: &str) -> bool {
        let part = |separator: char| {
            let start = format!("{key}{separator}");
            let next = self.replaced.range(start.clone()..).next();
            next.is_some_and(|other| other.starts_with(&start))
        };
        let mut around = key.match_indices(['.', '[']).map(|(at, _)| &key[..at]);
        self.replaced.contains("")
            || self.replaced.contains(key)
            || around.any(|outer| self.replaced.contains(outer))
            || part('.')
            || part('[')
    }

    /// Line of `key` or of the closest table around it.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        if let Some(line) = self.lines.get(key) {
            return Some(*line);
        }
        let parent = key.rfind(['.', '['])?;
        self.line(key.get(..parent)?)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}")
    }
}
