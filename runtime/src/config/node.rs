//! A configuration text as a tree of values that know their lines, whatever format it came from.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::error::ConfigProblem;

/// Bytes of a description; a full one has 5,000.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// A value and its line.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: Option<usize>,
    pub(super) value: Value,
}

/// A value of TOML or YAML.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A TOML date, or an integer that does not fit 64 bits: nothing that a model has.
    Other(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "nothing"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "the string {:?}", shortened(text)),
            Self::Other(text) => write!(f, "{}", shortened(text)),
            Self::List(entries) => write!(f, "a list of {}", entries.len()),
            Self::Table(_) => write!(f, "a table"),
        }
    }
}

pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into(),
    }
}

impl Node {
    /// Parses TOML; every syntax error becomes a problem.
    pub(super) fn from_toml(text: &str) -> Result<Self, Vec<ConfigProblem>> {
        if text.len() > LONGEST_TEXT {
            return Err(vec![ConfigProblem::new(
                "(file)",
                format!("at most {LONGEST_TEXT} bytes of TOML"),
                format!("{} bytes", text.len()),
                "pass the model's description, not another file",
            )]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let lines = Lines::of(text);
            return Ok(Self {
                line: None,
                value: table_value(table.into_inner(), &lines),
            });
        }
        let lines = Lines::of(text);
        let problem = |error: toml::de::Error| ConfigProblem {
            line: error.span().map(|span| lines.line(span.start)),
            ..ConfigProblem::new(
                "(syntax)",
                "TOML",
                error.message().replace('\n', ", "),
                "correct the syntax; nothing else was checked",
            )
        };
        Err(errors.into_iter().map(problem).collect())
    }

    /// A tree without lines.
    pub(super) fn from_table(table: &toml::Table) -> Self {
        let value = Value::Table(
            table
                .iter()
                .map(|(key, value)| (key.clone(), Self::plain(value)))
                .collect(),
        );
        Self { line: None, value }
    }

    fn plain(value: &toml::Value) -> Self {
        let value = match value {
            toml::Value::String(text) => Value::Text(text.clone()),
            toml::Value::Integer(number) => Value::Integer(*number),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(flag) => Value::Flag(*flag),
            toml::Value::Datetime(date) => Value::Other(date.to_string()),
            toml::Value::Array(entries) => Value::List(entries.iter().map(Self::plain).collect()),
            toml::Value::Table(table) => return Self::from_table(table),
        };
        Self { line: None, value }
    }
}

/// Byte offsets of the line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(offset, _)| offset).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

fn table_value(table: DeTable<'_>, lines: &Lines) -> Value {
    let entry = |(key, value): (toml::Spanned<_>, toml::Spanned<DeValue<'_>>)| {
        let line = Some(lines.line(key.span().start));
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        let value = value_of(value.into_inner(), lines);
        (key.into_owned(), Node { line, value })
    };
    Value::Table(table.into_iter().map(entry).collect())
}

fn value_of(value: DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Value::Other(number.to_string()), Value::Float),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(entries) => Value::List(
            entries
                .into_iter()
                .map(|entry| Node {
                    line: Some(lines.line(entry.span().start)),
                    value: value_of(entry.into_inner(), lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => table_value(table, lines),
    }
}
