//! Attempts what its query asks for, with hosts that may be granted to it.

#[path = "../outbound/attempt.rs"]
mod attempt;
#[path = "../attempting/gateway.rs"]
mod gateway;

fn main() {}
