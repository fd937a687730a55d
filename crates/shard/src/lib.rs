//! The media core of one thread: datagrams in, datagrams out.
