//! The types that represent a request's resources in the guest's handle table.

/// Represents the request's `environ` in the guest's handle table. The handle's rep is the number
/// of the request in its store.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct EnvironToken;

/// Represents the request's `start-response` in the guest's handle table, with the same rep.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct StartResponseToken;
