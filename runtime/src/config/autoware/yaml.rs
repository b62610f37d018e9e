//! ROS parameter files as a flat list of dotted keys.
//!
//! In: YAML of the form `/**: ros__parameters: ...`. Out: `a.b.c` keys with their values, file and
//! line, the later file winning, as in ROS. Size, depth and aliases are limited, so that a hostile
//! file costs little.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::super::error::ConfigProblem;
use super::super::node::{LONGEST_TEXT, Node, Value};

const PARAMETERS: &str = "ros__parameters";

/// One YAML text and its name in messages.
#[derive(Clone, Copy, Debug)]
pub struct AutowareFile<'a> {
    /// Usually the path.
    pub origin: &'a str,
    /// The YAML.
    pub text: &'a str,
}

/// A parameter and the file that it is from.
pub(super) struct Parameter {
    pub(super) node: Node,
    pub(super) file: String,
}

/// All parameters of `files`, by dotted key.
pub(super) fn parameters(
    files: &[AutowareFile<'_>],
) -> Result<BTreeMap<String, Parameter>, Vec<ConfigProblem>> {
    let mut flat = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files {
        match parse(file) {
            Ok(root) => {
                let mut found = Vec::new();
                collect(&root, &mut found);
                if found.is_empty() {
                    problems.push(problem(
                        file,
                        None,
                        format!("a node name with `{PARAMETERS}` below it"),
                        format!("no `{PARAMETERS}`"),
                        "pass a ROS parameter file, `/**:` then `ros__parameters:`",
                    ));
                }
                for table in found {
                    flatten("", table, file.origin, &mut flat);
                }
            }
            Err(error) => problems.push(*error),
        }
    }
    if problems.is_empty() {
        Ok(flat)
    } else {
        Err(problems)
    }
}

fn problem(
    file: &AutowareFile<'_>,
    line: Option<usize>,
    expected: String,
    found: String,
    remedy: &str,
) -> ConfigProblem {
    ConfigProblem {
        file: Some(file.origin.into()),
        line,
        ..ConfigProblem::new("(file)", expected, found, remedy)
    }
}

fn parse(file: &AutowareFile<'_>) -> Result<Node, Box<ConfigProblem>> {
    if file.text.len() > LONGEST_TEXT {
        return Err(Box::new(problem(
            file,
            None,
            format!("at most {LONGEST_TEXT} bytes of YAML"),
            format!("{} bytes", file.text.len()),
            "pass the parameter file, not another one",
        )));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 16,
            flow_nesting_limit: 8,
            max_events: 50_000,
            max_nodes: 50_000,
            max_aliases: 64,
            max_anchors: 64,
            max_recorded_anchor_events: 10_000,
        },
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let parsed: Result<YamlNode, _> = serde_saphyr::from_str_with_options(file.text, options);
    parsed.map(|node| node.0).map_err(|error| {
        let line = error
            .location()
            .and_then(|at| usize::try_from(at.line()).ok());
        Box::new(problem(
            file,
            line,
            "YAML".into(),
            error.to_string().replace('\n', ", "),
            "correct the syntax; nothing else was checked",
        ))
    })
}

/// Every table under a `ros__parameters` key.
fn collect<'a>(node: &'a Node, found: &mut Vec<&'a Node>) {
    let Value::Table(entries) = &node.value else {
        return;
    };
    for (key, entry) in entries {
        if key == PARAMETERS {
            found.push(entry);
        } else {
            collect(entry, found);
        }
    }
}

fn flatten(path: &str, node: &Node, file: &str, flat: &mut BTreeMap<String, Parameter>) {
    let Value::Table(entries) = &node.value else {
        if !path.is_empty() {
            let parameter = Parameter {
                node: node.clone(),
                file: file.into(),
            };
            flat.insert(path.into(), parameter);
        }
        return;
    };
    for (key, entry) in entries {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        flatten(&path, entry, file, flat);
    }
}

/// A YAML node as the reader delivers it.
struct YamlNode(Node);

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<YamlValue>::deserialize(deserializer)?;
        let line = usize::try_from(spanned.referenced.line()).ok();
        Ok(Self(Node {
            line: line.filter(|line| *line > 0),
            value: spanned.value.0,
        }))
    }
}

struct YamlValue(Value);

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a parameter")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        let small = i64::try_from(number);
        Ok(small.map_or_else(|_| Value::Other(number.to_string()), Value::Integer))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Other(number.to_string()))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Other(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(YamlNode(entry)) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some((key, YamlNode(entry))) = entries.next_entry::<String, _>()? {
            table.push((key, entry));
        }
        Ok(Value::Table(table))
    }
}
