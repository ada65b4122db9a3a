//! Skips the last step of linking for the library, so that it remains a core module.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
