//! SDP to typed specs and back; pure.
