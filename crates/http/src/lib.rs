//! HTTP: signalling sockets, the server API, the demo page.
