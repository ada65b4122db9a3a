//! The grants of all handlers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::options::GrantError;
use super::{GrantOptions, Grants};

/// The grants of all handlers, by the name of the table in `wasgi.toml` that has them. Only
/// handlers with grants are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantTable(BTreeMap<String, Arc<Grants>>);

impl GrantTable {
    /// Reads the secrets and looks at the folders of all tables.
    ///
    /// # Errors
    ///
    /// Fails with the name of the first table of which one is not available, and the reason.
    pub(crate) fn read<'o>(
        tables: impl Iterator<Item = (&'o str, GrantOptions<'o>)>,
    ) -> Result<Self, (String, GrantError)> {
        let mut read = BTreeMap::new();
        for (name, options) in tables {
            let grants = options.read().map_err(|error| (name.to_owned(), error))?;
            if grants != Grants::default() {
                read.insert(name.to_owned(), Arc::new(grants));
            }
        }
        Ok(Self(read))
    }

    /// Returns the grants of a table, if it has any.
    pub(crate) fn get(&self, table: &str) -> Option<&Arc<Grants>> {
        self.0.get(table)
    }

    /// Reports whether no handler has grants.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::SecretSource;

    #[test]
    fn only_tables_with_grants_are_kept_and_an_error_names_the_table() {
        let (none, no_secrets) = (BTreeMap::new(), BTreeMap::new());
        let environment = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        let options = |environment| GrantOptions {
            environment,
            secrets: &no_secrets,
            files: &[],
            allowed_outbound_hosts: &[],
            key_value: &[],
        };
        let tables = [("plain", options(&none)), ("rich", options(&environment))];
        let table = GrantTable::read(tables.into_iter()).expect("all is there");
        assert_eq!(table.get("plain"), None);
        let rich = table.get("rich").expect("it has grants");
        assert_eq!(rich.variables(), [("A".to_owned(), "b".to_owned())]);
        assert!(!format!("{table:?}").contains("\"b\""), "{table:?}");

        let secrets =
            BTreeMap::from([("KEY".to_owned(), SecretSource::File("/nowhere/key".into()))]);
        let missing = GrantOptions {
            environment: &none,
            secrets: &secrets,
            files: &[],
            allowed_outbound_hosts: &[],
            key_value: &[],
        };
        let (name, error) =
            GrantTable::read([("poor", missing)].into_iter()).expect_err("the secret is missing");
        assert_eq!((name.as_str(), error.key), ("poor", "secrets"));
        assert!(
            error.why.starts_with("KEY: /nowhere/key: "),
            "{}",
            error.why
        );
    }
}
