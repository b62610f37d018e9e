//! Licences and banned crates of the whole dependency tree against `deny.toml`, for machines without
//! cargo-deny.

#[cfg(test)]
mod dependencies {
    use std::collections::BTreeMap;
    use std::path::Path;

    use cargo_metadata::{Metadata, MetadataCommand};
    use spdx::{Expression, LicenseItem};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace is around this member")
    }

    fn tree() -> Metadata {
        MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .other_options(vec!["--locked".into()])
            .exec()
            .expect("cargo metadata")
    }

    fn rules() -> toml::Table {
        let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
        text.parse().expect("deny.toml is TOML")
    }

    fn texts(value: &toml::Value) -> Vec<String> {
        let items = value.as_array().expect("a list").iter();
        items
            .map(|item| item.as_str().expect("text").to_owned())
            .collect()
    }

    /// Licences that are allowed everywhere, and those that single crates may have besides.
    fn allowed() -> (Vec<String>, BTreeMap<String, Vec<String>>) {
        let rules = rules();
        let exceptions = rules["licenses"]["exceptions"]
            .as_array()
            .expect("a list")
            .iter();
        let of_crate = |one: &toml::Value| {
            (
                one["crate"].as_str().expect("a name").to_owned(),
                texts(&one["allow"]),
            )
        };
        (
            texts(&rules["licenses"]["allow"]),
            exceptions.map(of_crate).collect(),
        )
    }

    #[test]
    fn every_dependency_has_a_licence_that_is_allowed() {
        let (everywhere, exceptions) = allowed();
        let tree = tree();
        assert!(
            tree.packages.len() > 100,
            "the whole tree, not only the members"
        );
        for package in tree
            .packages
            .iter()
            .filter(|package| package.source.is_some())
        {
            let name = package.name.to_string();
            let own = exceptions.get(&name).cloned().unwrap_or_default();
            let text = package
                .license
                .clone()
                .unwrap_or_else(|| panic!("{name} names no licence"));
            let text = text.replace('/', " OR ");
            let expression =
                Expression::parse(&text).unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
            let permitted = expression.evaluate(|required| match &required.license {
                LicenseItem::Spdx { id, .. } => everywhere
                    .iter()
                    .chain(&own)
                    .any(|allowed| allowed == id.name),
                LicenseItem::Other { .. } => false,
            });
            assert!(
                permitted,
                "{name} is under {text}, which deny.toml does not allow"
            );
        }
    }

    #[test]
    fn banned_crates_come_in_by_no_other_way_than_their_wrappers() {
        let rules = rules();
        let tree = tree();
        for rule in rules["bans"]["deny"].as_array().expect("a list") {
            let banned = rule["crate"].as_str().expect("a name");
            let wrappers = rule.get("wrappers").map(texts).unwrap_or_default();
            for package in &tree.packages {
                let takes = package.dependencies.iter().any(|one| {
                    one.name == banned && one.kind != cargo_metadata::DependencyKind::Development
                });
                let present = tree
                    .packages
                    .iter()
                    .any(|other| other.name.as_str() == banned);
                let excused = wrappers.iter().any(|name| package.name.as_str() == name);
                let used = takes && present && package.source.is_none();
                assert!(
                    !used || excused,
                    "{} takes {banned}, which deny.toml bans",
                    package.name
                );
            }
        }
    }
}
