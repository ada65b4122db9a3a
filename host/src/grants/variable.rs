//! The syntax of environment variables.

/// Checks the name of a variable. What POSIX allows: any characters but `=` and NUL, at least one.
///
/// # Errors
///
/// Fails with the reason.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a variable needs a name"),
        _ if name.contains(['=', '\0']) => Err("a variable's name can't contain `=` or NUL"),
        _ => Ok(()),
    }
}

/// Checks the value of a variable: a C program would see it only up to a NUL.
///
/// # Errors
///
/// Fails with the reason.
pub(super) fn check_value(value: &str) -> Result<(), &'static str> {
    match value.contains('\0') {
        true => Err("a variable's value can't contain NUL"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whatever_posix_allows() {
        for good in ["A", "a-b", "ÄÖ", "with space", "1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A=B", "=", "A\0"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_value_ends_at_no_nul() {
        assert_eq!(check_value("a=b\nc"), Ok(()));
        assert!(check_value("a\0b").is_err());
    }
}
