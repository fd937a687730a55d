//! Limits of the process: open files, memory returned to the system.
//!
//! * **Owns:** nothing; limits and settings are the kernel's.
//! * **Invariant:** a limit that the kernel refuses to change stays as it was, and the server goes on.
#![expect(unsafe_code, reason = "limits and memory settings that std does not offer")]

/// Lets the process open as many files as the system allows it: a session takes one, the usual
/// limit is 1,024.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid limit; the call keeps no pointer.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// How many files the process may open at most; `None` if the system does not say.
pub fn open_files() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    done.then_some(limit.rlim_max)
}

/// Keeps memory in small pages: with transparent huge pages a server that holds little for each of
/// many participants is nearly twice as large, and gains nothing that was measured. Call it before
/// memory is used. A kernel that knows no such pages has nothing to refuse.
pub fn refuse_huge_pages() {
    // SAFETY: the call takes numbers only.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Bytes of memory that the process has now (`VmRSS`); 0 if the system does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_is_the_highest_allowed() {
        raise_open_files();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3], words[4], "{line}");
    }

    #[test]
    fn memory_that_is_written_to_is_resident() {
        let before = resident_bytes();
        let written = std::hint::black_box(vec![1_u8; 16 << 20]);
        assert!(before > 0 && resident_bytes() >= before + (8 << 20), "{}", written.len());
    }

    #[test]
    fn huge_pages_are_refused() {
        refuse_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.lines().any(|line| line.split_whitespace().eq(["THP_enabled:", "0"])));
    }
}
