//! SDP: parse, model, write.
