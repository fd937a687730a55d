//! LiveKit's messages, their framing, and conversion to our types.
