//! Threads, tasks, queues and placement.
