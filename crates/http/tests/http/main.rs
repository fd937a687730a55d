//! The HTTP surface from outside: bytes in, bytes out, on the loopback interface.

#[cfg(test)]
mod api;
#[cfg(test)]
mod client;
#[cfg(test)]
mod joins;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod signal;
#[cfg(test)]
mod surface;
