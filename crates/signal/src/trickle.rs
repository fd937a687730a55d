//! `TrickleRequest.candidateInit`: an `RTCIceCandidateInit` as JSON.
//!
//! * **Owns:** nothing.
//! * **In:** a client's JSON; our own candidate line.
//! * **Out:** [`Candidate`]; JSON that every SDK can read.
//! * **Invariant:** `sdpMid` and `sdpMLineIndex` are always written: the Rust SDK panics without.

use serde_json::{Value, json};

/// Longest JSON that is read, in bytes; a candidate line is below 300.
const MAX_LEN: usize = 4_096;

/// A client's candidate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// `candidate:…`; empty says that no more will come.
    pub line: String,
}

/// Why it was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CandidateError {
    /// Not a JSON object with a `candidate`, or above 4096 bytes.
    #[error("candidate cannot be read")]
    Malformed,
}

/// Reads a client's `candidateInit`.
///
/// # Errors
///
/// [`CandidateError`] if it is no JSON object with a text `candidate`.
pub fn parse_candidate(json: &str) -> Result<Candidate, CandidateError> {
    if json.len() > MAX_LEN {
        return Err(CandidateError::Malformed);
    }
    let value: Value = serde_json::from_str(json).map_err(|_| CandidateError::Malformed)?;
    let line = value.get("candidate").and_then(Value::as_str).ok_or(CandidateError::Malformed)?;
    let line = line.strip_prefix("a=").unwrap_or(line).trim();
    if line.is_empty() || line.starts_with("candidate:") && !line.contains(['\r', '\n']) {
        Ok(Candidate { line: line.to_owned() })
    } else {
        Err(CandidateError::Malformed)
    }
}

/// Writes `candidateInit` for `line`, which belongs to the section named `mid`, at this position from 0.
pub fn write_candidate(line: &str, mid: &str, index: u32) -> String {
    json!({ "candidate": line, "sdpMid": mid, "sdpMLineIndex": index, "usernameFragment": null })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_has_the_fields_that_sdks_unwrap() {
        let json = write_candidate("candidate:1 1 udp 2 10.0.0.1 7882 typ host", "a", 2);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["sdpMid"], "a");
        assert_eq!(value["sdpMLineIndex"], 2);
        assert!(value["usernameFragment"].is_null());
        assert!(parse_candidate(&json).unwrap().line.starts_with("candidate:1 "));
    }

    #[test]
    fn refused_are_other_json_injected_lines_and_floods() {
        for bad in ["", "{", "{}", r#"{"candidate":7}"#, r#"{"candidate":"evil"}"#] {
            assert!(parse_candidate(bad).is_err(), "{bad}");
        }
        assert!(parse_candidate("{\"candidate\":\"candidate:1\\r\\na=x\"}").is_err());
        assert!(parse_candidate(&format!("{{\"candidate\":\"{}\"}}", "c".repeat(5_000))).is_err());
    }

    #[test]
    fn an_empty_candidate_ends_the_list() {
        assert_eq!(parse_candidate(r#"{"candidate":""}"#).unwrap().line, "");
    }
}
