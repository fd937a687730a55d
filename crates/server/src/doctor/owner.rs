//! Which process has a port.
//!
//! * **Owns:** nothing.
//! * **In:** `/proc` of Linux. **Out:** [`Process`], if this user may see it.
//! * **Invariant:** nothing is changed, and no process is spoken to.

use super::facts::{Process, Transport};

/// Looks for the process that has a port of any address.
pub(super) fn of(transport: Transport, port: u16) -> Option<Process> {
    let files = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let listens = transport == Transport::Tcp;
    let tables = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let inodes: Vec<u64> = tables.flat_map(|table| inodes(&table, port, listens)).collect();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut files = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            let target = std::fs::read_link(file.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
        })?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(Process { id, name: name.trim().to_owned() })
    })
}

/// The sockets of a table that have a local port; of TCP only those that listen (state 0A).
fn inodes(table: &str, port: u16, listens: bool) -> Vec<u64> {
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1)?.ends_with(&port) && (!listens || words.get(3) == Some(&"0A"));
        if is_it { words.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1EC8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0
   1: 0100007F:1EC8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0";

    #[test]
    fn a_port_leads_to_the_sockets_that_have_it() {
        assert_eq!(inodes(TABLE, 7880, true), [4711]);
        assert_eq!(inodes(TABLE, 7880, false), [4711, 4712]);
        assert_eq!(inodes(TABLE, 7881, false), [0; 0]);
    }

    #[test]
    fn this_process_is_found_by_a_port_of_its_own() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(of(Transport::Udp, port).map(|process| process.id), Some(std::process::id()));
        drop(socket);
        assert_eq!(of(Transport::Udp, port), None);
    }
}
