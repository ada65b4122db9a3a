//! What a fused application and the host call each other by.
//!
//! A function of the host's gets the flat parameters of the canonical ABI (component-model,
//! CanonicalABI.md). Where its result has a list or a string, whose place is for the application to
//! allocate, it returns what it [`wants`](want) first, and is [given](HostFunction::Give) one place
//! after the other: the host itself never calls an application back. `fuse::glue` writes the loop.
//!
//! A function of the application's returns its result by
//! [one of the host's](HostFunction::Return), which reads it, and then calls its `post-return`, if
//! it has one.

/// The module that the host's functions are imported from.
pub const HOST: &str = "wasgi";

/// A function that the host has for an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostFunction {
    /// `environ.get`.
    Get,
    /// `environ.variables`.
    Variables,
    /// `environ.read`.
    Read,
    /// `environ.write-errors`.
    WriteErrors,
    /// `start-response.call`.
    StartResponse,
    /// `start-response.write`.
    Write,
    /// `panicked`.
    Panicked,
    /// Ends a handle of an environ.
    DropEnviron,
    /// Ends a handle of a start-response.
    DropStartResponse,
    /// Makes a handle of an application's blocks.
    NewBlocks,
    /// What the application knows blocks by, for a handle.
    BlocksRep,
    /// Ends a handle of blocks.
    DropBlocks,
    /// A place that was wanted: takes its address, and returns what is wanted next.
    Give,
    /// The result of a function: takes the function's [number](Export::number) and the result's
    /// address. What comes after is `post-return`. One for all functions, as an instance is made
    /// with each import.
    Return,
}

/// What an application has for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Export {
    /// Its linear memory.
    Memory,
    /// `application.call`.
    Call,
    /// `blocks.next`.
    Next,
    /// `blocks.close`.
    Close,
    /// The destructor of a body's blocks.
    Destroy,
}

impl HostFunction {
    /// The name, which for those of the gateway is the one in WIT.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "[method]environ.get",
            Self::Variables => "[method]environ.variables",
            Self::Read => "[method]environ.read",
            Self::WriteErrors => "[method]environ.write-errors",
            Self::StartResponse => "[method]start-response.call",
            Self::Write => "[method]start-response.write",
            Self::Panicked => "panicked",
            Self::DropEnviron => "[resource-drop]environ",
            Self::DropStartResponse => "[resource-drop]start-response",
            Self::NewBlocks => "[resource-new]blocks",
            Self::BlocksRep => "[resource-rep]blocks",
            Self::DropBlocks => "[resource-drop]blocks",
            Self::Give => "give",
            Self::Return => "[task-return]",
        }
    }

    /// The one of the gateway's that has this name in WIT.
    pub fn of_gateway(name: &str) -> Option<Self> {
        [
            Self::Get,
            Self::Variables,
            Self::Read,
            Self::WriteErrors,
            Self::StartResponse,
            Self::Write,
            Self::Panicked,
        ]
        .into_iter()
        .find(|function| function.name() == name)
    }

    /// Whether its result has parts that the application allocates.
    pub fn wants(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Variables | Self::Read | Self::StartResponse
        )
    }
}

impl Export {
    /// The name that it is exported by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Call => "call",
            Self::Next => "[method]blocks.next",
            Self::Close => "[method]blocks.close",
            Self::Destroy => "[dtor]blocks",
        }
    }

    /// What a function is to [`HostFunction::Return`].
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Nothing is wanted any more.
pub const NOTHING: i64 = -1;

/// A place that is wanted: so many bytes, aligned to so many.
pub fn want(size: u32, align: u32) -> i64 {
    i64::from(align) << 32 | i64::from(size)
}
