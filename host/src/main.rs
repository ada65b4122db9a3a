//! wasgi
fn main() {}
