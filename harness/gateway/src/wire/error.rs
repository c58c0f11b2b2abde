//! Errors of ours in the form that each wire's clients understand.

/// Why the gateway answers for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A budget is spent: the client must stop after this one answer. The forms were found by trying them on the agents.
    BudgetExhausted,
    /// The request cannot be read, or asks for what is not allowed.
    BadRequest,
    /// The virtual key is missing or wrong.
    Unauthorized,
    /// No such path, or no such model here.
    NotFound,
    /// The body is too large.
    TooLarge,
    /// The provider could not be reached, or failed for longer than we wait.
    UpstreamFailed,
    /// The provider did not answer in time.
    UpstreamTimeout,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [ErrorKind; 7] = [
        ErrorKind::BudgetExhausted,
        ErrorKind::BadRequest,
        ErrorKind::Unauthorized,
        ErrorKind::NotFound,
        ErrorKind::TooLarge,
        ErrorKind::UpstreamFailed,
        ErrorKind::UpstreamTimeout,
    ];

    /// The status on wires that have no better one.
    pub(super) fn status(self) -> u16 {
        match self {
            ErrorKind::BudgetExhausted => 403,
            ErrorKind::BadRequest => 400,
            ErrorKind::Unauthorized => 401,
            ErrorKind::NotFound => 404,
            ErrorKind::TooLarge => 413,
            ErrorKind::UpstreamFailed => 502,
            ErrorKind::UpstreamTimeout => 504,
        }
    }
}

/// An error as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Headers beyond the length. There is never a `retry-after`: some agents sleep for as long as it says.
    pub headers: Vec<(&'static str, &'static str)>,
    /// JSON.
    pub body: String,
}

impl ErrorAnswer {
    pub(super) fn json(status: u16, body: &serde_json::Value) -> ErrorAnswer {
        // We have tried again already where that helps; a client that does so too only multiplies it.
        let headers = vec![("content-type", "application/json"), ("x-should-retry", "false")];
        ErrorAnswer { status, headers, body: body.to_string() }
    }
}
