//! Attempts what its query asks for, with variables and files that may be granted to it.
//! Built without the SDK's feature `stdio`, as a handler that writes files has to be.

#[path = "../../../guests/grants/attempt.rs"]
mod attempt;
#[path = "../attempting/gateway.rs"]
mod gateway;

fn main() {}
