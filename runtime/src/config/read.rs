//! From a text or a [`ModelSpec`] to a checked [`ModelConfig`], and back to TOML.

use std::fs;
use std::path::Path;

use super::check;
use super::derived::Shapes;
use super::error::{ConfigErrors, ConfigProblem};
use super::form::Reading;
use super::node::Node;
use super::presets::{self, PRESETS};
use super::schema::MODEL;
use super::{ModelConfig, ModelSpec, nearest::nearest};

impl ModelConfig {
    /// Checks a description that was built in code.
    ///
    /// # Errors
    /// Everything that does not fit, at once.
    pub fn new(spec: ModelSpec) -> Result<Self, ConfigErrors> {
        checked_spec(&spec.name, &spec, Reading::default())
    }

    /// Reads and checks TOML; `origin` names the text in messages.
    ///
    /// # Errors
    /// Syntax errors, or every unknown key, missing key, wrong type and contradiction at once.
    pub fn from_toml_str(text: &str, origin: &str) -> Result<Self, ConfigErrors> {
        let node = Node::from_toml(text).map_err(|problems| ConfigErrors::new(origin, problems))?;
        checked(origin, &node, Reading::default())
    }

    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, and as [`Self::from_toml_str`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigErrors> {
        let origin = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            let problem = ConfigProblem::new(
                "(file)",
                "a TOML file in UTF-8",
                error.to_string(),
                "check the path and its permissions",
            );
            ConfigErrors::one(&origin, problem)
        })?;
        Self::from_toml_str(&text, &origin)
    }

    /// A shipped variant; [`PRESETS`] has the names.
    ///
    /// # Errors
    /// When there is none of that name; the message lists the names.
    pub fn preset(name: &str) -> Result<Self, ConfigErrors> {
        let Some(text) = presets::text(name) else {
            return Err(unknown(name, "the name of a shipped model"));
        };
        Self::from_toml_str(text, name)
    }

    /// The preset of that name, or else the file at that path.
    ///
    /// # Errors
    /// When it is neither, and as [`Self::from_file`].
    pub fn load(name_or_path: &str) -> Result<Self, ConfigErrors> {
        if PRESETS.contains(&name_or_path) {
            return Self::preset(name_or_path);
        }
        let path = Path::new(name_or_path);
        let meant_as_path = path.extension().is_some() || path.components().count() > 1;
        if meant_as_path || path.exists() {
            return Self::from_file(path);
        }
        Err(unknown(
            name_or_path,
            "the name of a shipped model or the path of a TOML file",
        ))
    }

    /// The description as TOML; reading it gives an equal model.
    ///
    /// # Errors
    /// Never for a model that was checked; the encoder's message otherwise.
    pub fn to_toml(&self) -> Result<String, ConfigErrors> {
        toml::to_string(&self.spec).map_err(|error| {
            let problem = ConfigProblem::new(
                "(model)",
                "values of TOML",
                error.to_string(),
                "report this",
            );
            ConfigErrors::one(&self.name, problem)
        })
    }
}

fn unknown(name: &str, kind: &str) -> ConfigErrors {
    let remedy = match nearest(name, PRESETS.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "pick one of them".into(),
    };
    let expected = format!("{kind} ({})", PRESETS.join(", "));
    let found = format!("`{name}`");
    ConfigErrors::one(
        "model",
        ConfigProblem::new("(name)", expected, found, remedy),
    )
}

/// Checks `spec`, adding to what `reading` knows already.
pub(super) fn checked_spec(
    origin: &str,
    spec: &ModelSpec,
    reading: Reading,
) -> Result<ModelConfig, ConfigErrors> {
    let table = toml::Table::try_from(spec).map_err(|error| {
        let problem = ConfigProblem::new(
            "(model)",
            "numbers that TOML can hold",
            error.to_string(),
            "use smaller counts",
        );
        ConfigErrors::one(origin, problem)
    })?;
    checked(origin, &Node::from_table(&table), reading)
}

/// Form first, then meaning; what follows from a placeholder is left out.
fn checked(origin: &str, node: &Node, mut reading: Reading) -> Result<ModelConfig, ConfigErrors> {
    let table = reading.table("", node, MODEL);
    let spec: ModelSpec = table.try_into().map_err(|error: toml::de::Error| {
        let problem = ConfigProblem::new("(model)", "a model", error.to_string(), "report this");
        ConfigErrors::one(origin, problem)
    })?;
    let shapes = Shapes::of(&spec);
    let mut problems = std::mem::take(&mut reading.problems);
    for finding in check::findings(&spec, &shapes) {
        let key = &finding.problem.key;
        let mut reads = finding.reads.iter();
        if !reading.is_replaced(key) && !reads.any(|read| reading.is_replaced(read)) {
            let line = reading.line(key);
            problems.push(ConfigProblem {
                line,
                ..finding.problem
            });
        }
    }
    if problems.is_empty() {
        Ok(ModelConfig { spec, shapes })
    } else {
        Err(ConfigErrors::new(origin, problems))
    }
}
