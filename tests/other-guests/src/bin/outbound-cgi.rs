//! A command that attempts what its query asks for, with hosts that may be granted to it.

#[path = "../outbound/attempt.rs"]
mod attempt;

fn main() {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let told = attempt::attempt(&query);
    print!("Content-Type: text/plain; charset=utf-8\n\n{told}");
}
