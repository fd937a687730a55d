//! The HTTP status of a refused join, by its error.
//!
//! * **Owns:** nothing.
//! * **In:** errors of the token, the parameters or the room.
//! * **Out:** a plain text answer, which clients show to their users.
//! * **Invariant:** the texts are the errors' own; only the status is decided here.
//! * **livekit-server:** `pkg/service/rtcservice.go`, `pkg/service/utils.go`.

use axum::body::Body;
use axum::http::Response;
use hearth_access::{AdmitError, TokenError};
use hearth_room::JoinError;
use hearth_signal::JoinParamsError;
use hearth_signal::json::JsonError;

use crate::response;

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's `roomConfig` is no room configuration.
    #[error(
        "invalid authorization token: token is malformed: could not JSON decode claim: roomConfig: {0}"
    )]
    RoomConfig(#[from] JsonError),
    /// The token does not let its bearer join like this.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The `join_request` cannot be read.
    #[error(transparent)]
    Params(#[from] JoinParamsError),
    /// Validation only: the `attributes` parameter cannot be read.
    #[error("cannot decode attributes")]
    Attributes,
    /// The room refused.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The room did not answer.
    #[error("connection closed by media")]
    NoAnswer,
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::Token(error) => token_status(error),
            Self::RoomConfig(_) => 401,
            Self::Admit(AdmitError::NoPermissions | AdmitError::Denied) => 401,
            Self::Admit(
                AdmitError::NoIdentity
                | AdmitError::IdentityTooLong(_)
                | AdmitError::NoRoom
                | AdmitError::RoomNameTooLong(_),
            ) => 400,
            Self::Admit(AdmitError::Metadata(_) | AdmitError::Attributes(_)) => 500,
            Self::Params(_) | Self::Attributes => 400,
            Self::Join(JoinError::RoomNotFound) => 404,
            Self::Join(JoinError::RoomFull) | Self::NoAnswer => 500,
            Self::Join(JoinError::Unavailable) => 503,
        }
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Response<Body> {
        response::text(self.status(), self.to_string())
    }
}

/// The status of a refused token, on any path.
fn token_status(error: &TokenError) -> u16 {
    if *error == TokenError::Signing { 500 } else { 401 }
}
