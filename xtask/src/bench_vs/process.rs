//! Servers as processes: started, watched, ended.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::quiet;

/// Both servers' API key.
pub(crate) const KEY: &str = "benchkey";
/// Long enough for both.
pub(crate) const SECRET: &str = "a-secret-of-more-than-32-characters-for-benches";
const PORT: u16 = 7890;
/// For a server to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(100);
/// `USER_HZ`, which Linux keeps at 100 for programs.
const TICKS_A_SECOND: f64 = 100.0;
/// Bytes of a page on the machines this runs on.
const PAGE: f64 = 4_096.0;

/// Which program serves.
#[derive(Debug, Clone)]
pub(crate) enum Software {
    Hearth(PathBuf),
    LiveKit(PathBuf),
}

/// The CPU time and memory of a process at some time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Since the tester began.
    pub(crate) at: Duration,
    /// CPU-seconds in user code.
    pub(crate) user: f64,
    /// CPU-seconds in the kernel.
    pub(crate) system: f64,
    /// Resident bytes.
    pub(crate) memory: f64,
    /// CPU-seconds of the testers.
    pub(crate) tester: f64,
    /// CPU-seconds that the machine wanted and its host gave to others.
    pub(crate) stolen: f64,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it with further flags and waits until it answers.
    pub(crate) fn start(lab: &Lab, software: &Software, flags: &[&str]) -> Result<Self, String> {
        let ip = lab.server();
        let body = format!(
            "port: {PORT}\nrtc:\n  udp_port: 7892\n  tcp_port: 0\n  node_ip: {ip}\n  use_external_ip: false\n\
             keys:\n  {KEY}: {SECRET}\nlogging:\n  level: error\n"
        );
        let (Software::Hearth(program) | Software::LiveKit(program)) = software;
        let mut command = lab.on_server_core(program);
        command.args(["--config-body", &body, "--bind", &ip.to_string()]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        let child =
            child.map_err(|error| format!("{} did not start: {error}", program.display()))?;
        let mut server = Self { child };
        let until = clock() + PATIENCE;
        while !answers(SocketAddr::from((ip, PORT))) {
            if server.child.try_wait().is_ok_and(|ended| ended.is_some()) || clock() > until {
                return Err(format!(
                    "{} does not answer; run it by hand with --config-body '{body}'",
                    program.display()
                ));
            }
            std::thread::park_timeout(STEP);
        }
        // Its start is not part of the load.
        std::thread::park_timeout(Duration::from_secs(1));
        Ok(server)
    }

    /// Its usage so far.
    pub(crate) fn sample(&self) -> Result<Sample, String> {
        sample(self.child.id()).ok_or_else(|| "the server has ended".to_owned())
    }
}

/// The usage of a process so far.
fn sample(id: u32) -> Option<Sample> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold spaces.
    let fields: Vec<f64> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // proc(5): utime is field 14, stime 15, rss 24, of which the first two are gone here.
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or(0.0);
    Some(Sample {
        user: field(14) / TICKS_A_SECOND,
        system: field(15) / TICKS_A_SECOND,
        memory: field(24) * PAGE,
        ..Sample::default()
    })
}

/// CPU-seconds of all cores since the machine began (proc(5): the eighth number of `cpu`).
fn stolen() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let field = text.split_whitespace().nth(8).and_then(|field| field.parse::<f64>().ok());
    field.unwrap_or(f64::NAN) / TICKS_A_SECOND
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = quiet(Command::new("kill").arg(&id)).status();
        let until = clock() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if clock() > until {
                let _ = self.child.kill();
            }
            std::thread::park_timeout(STEP);
        }
    }
}

/// Watches a server while testers run.
pub(crate) struct Sampler<'a> {
    server: &'a Server,
    samples: Vec<Sample>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self { server, samples: Vec::new() }
    }

    /// Waits for the testers' end; returns what they wrote to standard error.
    pub(crate) fn watch(
        &mut self,
        testers: &mut [Child],
        within: Duration,
    ) -> Result<String, String> {
        let watched = self.until_all_ended(testers, within);
        for tester in testers.iter_mut() {
            if watched.is_err() {
                let _ = tester.kill();
            }
            let _ = tester.wait();
        }
        watched?;
        let mut text = String::new();
        for stderr in testers.iter_mut().filter_map(|tester| tester.stderr.take()) {
            let _ = { stderr }.read_to_string(&mut text);
        }
        Ok(text)
    }

    fn until_all_ended(&mut self, testers: &mut [Child], within: Duration) -> Result<(), String> {
        let began = clock();
        loop {
            let at = clock() - began;
            let used = testers.iter().filter_map(|tester| sample(tester.id()));
            let tester = used.map(|used| used.user + used.system).sum();
            self.samples.push(Sample { at, tester, stolen: stolen(), ..self.server.sample()? });
            let mut running = 0;
            for tester in testers.iter_mut() {
                let ended = tester.try_wait().map_err(|error| error.to_string())?;
                running += usize::from(ended.is_none());
            }
            match running {
                0 => return Ok(()),
                _ if at > within => return Err("the tester did not end in time".to_owned()),
                _ => std::thread::park_timeout(STEP),
            }
        }
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

/// A program on PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The output of `--version`.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    output.map_or_else(|_| "?".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn answers(addr: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, STEP) else { return false };
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b"200")
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn clock() -> Instant {
    Instant::now()
}
