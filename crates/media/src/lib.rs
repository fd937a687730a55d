//! What is forwarded to whom, in which layer, under which numbers.
