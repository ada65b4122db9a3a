//! What a request may use: for all handlers ([`Budget`]), for individual ones ([`Handlers`]), and
//! for one of them, as the two combine ([`Policy`]).
//!
//! `config` reads the values; the server, the engine and `drive` enforce them.

mod budget;
mod handlers;

use std::sync::Arc;

use crate::grants::{GrantError, GrantTable, Grants};
use crate::host_name;

pub use budget::Budget;
pub use handlers::{Handler, Handlers};

/// The resource limits of a request to a handler, its grants, and the reuse of its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The resource limits.
    pub budget: Budget,
    /// The maximum number of requests that an instance serves; 1 for a new instance per request.
    pub reuse: u32,
    /// What the handler may use besides its request. `None` for nothing.
    pub grants: Option<Arc<Grants>>,
}

impl Policy {
    /// Creates the policy of a handler without grants.
    pub fn new(budget: Budget, reuse: u32) -> Self {
        Self {
            budget,
            reuse,
            grants: None,
        }
    }
}

/// The policies of all handlers.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    budget: Budget,
    handlers: Handlers,
    grants: GrantTable,
}

impl Policies {
    /// Combines the general budget and the settings of individual handlers. Reads the secrets that
    /// are granted.
    ///
    /// # Errors
    ///
    /// Fails with the name of a table of which a grant is not available, and the reason.
    pub fn new(budget: Budget, handlers: Handlers) -> Result<Self, (String, GrantError)> {
        let tables = handlers.iter();
        let grants = GrantTable::read(tables.map(|(name, table)| (name, table.grants())))?;
        Ok(Self {
            budget,
            handlers,
            grants,
        })
    }

    /// Returns the general budget.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Returns the settings of individual handlers.
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// Reports whether every handler has the same grants as with other policies.
    pub fn grants_like(&self, other: &Self) -> bool {
        let names = |policies: &Self| -> Vec<String> {
            let tables = policies.handlers.iter();
            tables.map(|(name, _)| name.to_owned()).collect()
        };
        self.grants == other.grants && (self.grants.is_empty() || names(self) == names(other))
    }

    /// Returns the policy of the handler called `name`, which may be a full name. These must be the
    /// policies of its virtual host.
    pub fn for_handler(&self, name: &str) -> Policy {
        let fresh = Policy::new(self.budget, 1);
        if self.handlers.is_empty() {
            return fresh;
        }
        let (_, name) = host_name::split(name);
        match self.handlers.table_of(name) {
            Some((table, handler)) => Policy {
                grants: self.grants.get(table).cloned(),
                ..handler.over(fresh)
            },
            None => fresh,
        }
    }
}
