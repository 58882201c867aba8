//! The differences of two versions, setting by setting.

use std::collections::BTreeMap;
use std::fmt;

/// A setting whose values differ between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Its name, with those of its tables: `delivery.buffered.capacity`.
    pub setting: String,
    /// Its value in the first version, as TOML. `None` if it is not set there.
    pub before: Option<String>,
    /// Its value in the second version.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value =
            |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        write!(f, "{}: {} -> {}", self.setting, value(&self.before), value(&self.after))
    }
}

/// The settings that differ, in the order of their names.
pub(crate) fn differences(before: &toml::Table, after: &toml::Table) -> Vec<Difference> {
    let mut all: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for (side, table) in [before, after].into_iter().enumerate() {
        for (setting, value) in flat(table) {
            all.entry(setting).or_default()[side] = Some(value);
        }
    }
    let differ = all.into_iter().filter(|(_, [before, after])| before != after);
    differ.map(|(setting, [before, after])| Difference { setting, before, after }).collect()
}

fn flat(table: &toml::Table) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                settings.extend(flat(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v)));
            }
            value => settings.push((key.clone(), value.to_string())),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_compared_one_by_one() {
        let before: toml::Table = "a = 1\nb = \"x\"\n[t]\nc = 1\nd = 2\n".parse().unwrap();
        let after: toml::Table = "b = \"y\"\nz = [1, 2]\n[t]\nc = 1\nd = 3\n".parse().unwrap();
        let told: Vec<_> = differences(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["a: 1 -> (not set)", "b: \"x\" -> \"y\"", "t.d: 2 -> 3", "z: (not set) -> [1, 2]"]
        );
        assert_eq!(differences(&before, &before), []);
    }
}
