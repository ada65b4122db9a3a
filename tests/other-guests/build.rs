//! Has the linker leave out its last step for the library: it stays a core module.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
