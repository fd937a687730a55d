//! UDP sockets in batches; the crate that holds the system calls.
