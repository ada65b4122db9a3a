//! The interface between a fused application and the host.
//!
//! A host function takes the flat parameters of the canonical ABI (component-model,
//! CanonicalABI.md). The application must allocate space for a list or a string in the result, but
//! the host never calls an application back. Instead, such a function returns the space that it
//! [wants](want) first, and the application passes one address after the other with
//! [`Give`](HostFunction::Give). `fuse::glue` generates the loop.
//!
//! A function of the application passes its result to the host function
//! [`Return`](HostFunction::Return), which reads it, and then calls its `post-return`, if it has
//! one.

/// The module name of the host's functions.
pub const HOST: &str = "wasgi";

/// A host function that an application imports.
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
    /// Drops a handle of an environ.
    DropEnviron,
    /// Drops a handle of a start-response.
    DropStartResponse,
    /// Creates a handle for the application's blocks.
    NewBlocks,
    /// Returns the application's representation of blocks, for a handle.
    BlocksRep,
    /// Drops a handle of blocks.
    DropBlocks,
    /// Supplies requested space: takes its address, and returns the next request.
    Give,
    /// Returns the result of a function: takes the [number](Export::number) of the function and the
    /// address of the result. `post-return` comes next. One import serves all functions, because
    /// each import adds to the cost of an instance.
    Return,
}

/// An export of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Export {
    /// The linear memory.
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
    /// Returns the import name. For functions of the gateway, it is the name in WIT.
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

    /// Returns the gateway function with this name in WIT.
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

    /// Returns whether the application must allocate parts of the result.
    pub fn wants(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Variables | Self::Read | Self::StartResponse
        )
    }
}

impl Export {
    /// Returns the export name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Call => "call",
            Self::Next => "[method]blocks.next",
            Self::Close => "[method]blocks.close",
            Self::Destroy => "[dtor]blocks",
        }
    }

    /// Returns the number that identifies the function to [`HostFunction::Return`].
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// The value of [`want`] for no further space.
pub const NOTHING: i64 = -1;

/// Encodes a request for space, with size and alignment in bytes.
pub fn want(size: u32, align: u32) -> i64 {
    i64::from(align) << 32 | i64::from(size)
}
