//! Ports from outside: bytes in, who got the connection out, on the loopback interface.

#[cfg(test)]
mod plain;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod secure;
