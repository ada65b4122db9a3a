//! Environment variables that the server's operator grants to a handler.

use std::env;

/// Returns the value of an environment variable that is granted to this handler.
///
/// Returns `None` if there is no such variable, or if its value is not UTF-8.
///
/// The variables of the *request* are in the [`Environ`](crate::Environ). With the feature `stdio`,
/// which is on by default, [`std::env::var`] sees no variable: it would make every handler import
/// WASI.
///
/// ```
/// let key = wasgi_sdk::variable("SECRET_KEY");
/// # assert_eq!(key, None);
/// ```
pub fn variable(name: &str) -> Option<String> {
    let (_, value) = env::vars_os().find(|(known, _)| known == name)?;
    value.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        assert_eq!(variable("PATH"), env::var("PATH").ok());
        assert_eq!(variable("PAT"), None);
        assert_eq!(variable(""), None);
    }
}
