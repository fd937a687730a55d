//! The server that is attacked: by a configuration file, on free ports of this machine alone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tree;

/// Its API key.
pub(super) const KEY: &str = "attackkey";
/// The secret of that.
pub(super) const SECRET: &str = "a-secret-of-more-than-32-characters-for-attacks";
/// For the server to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(100);
/// Lines of its log that are shown.
const MAX_LINES: usize = 3;

/// See the module documentation.
pub(super) struct Server {
    child: Child,
    http: SocketAddr,
    media: SocketAddr,
    turn: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `program` with two shards and waits until it answers.
    pub(super) fn start(program: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let [http, media, turn] = free_ports().map_err(text)?;
        let folder = tree::root().join("target/attack");
        std::fs::create_dir_all(&folder).map_err(text)?;
        let (config, log) = (folder.join("hearth.yaml"), folder.join("hearth.log"));
        let body = format!(
            "port: {}\nbind_addresses: [127.0.0.1]\nrtc:\n  udp_port: {}\n  tcp_port: {}\n  node_ip: 127.0.0.1\n  \
             use_external_ip: false\nkeys:\n  {KEY}: {SECRET}\nlogging:\n  level: error\n\
             turn:\n  enabled: true\n  udp_port: {}\n  tcp_port: {}\n  bind_addresses: [127.0.0.1]\n",
            http.port(),
            media.port(),
            media.port(),
            turn.port(),
            turn.port()
        );
        std::fs::write(&config, body).map_err(text)?;
        let out = std::fs::File::create(&log).map_err(text)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).args(["--shards", "2"]).stdin(Stdio::null());
        command.stdout(out.try_clone().map_err(text)?).stderr(out);
        let child = command.spawn();
        let child =
            child.map_err(|error| format!("{} did not start: {error}", program.display()))?;
        let mut server = Self { child, http, media, turn, log };
        let until = clock() + PATIENCE;
        while TcpStream::connect_timeout(&http, STEP).is_err() {
            if server.child.try_wait().is_ok_and(|ended| ended.is_some()) || clock() > until {
                return Err(format!("the server does not answer; see {}", server.log.display()));
            }
            std::thread::park_timeout(STEP);
        }
        Ok(server)
    }

    /// Where HTTP and signalling are.
    pub(super) fn http(&self) -> String {
        self.http.to_string()
    }

    /// Where media is.
    pub(super) fn media(&self) -> String {
        self.media.to_string()
    }

    /// Where TURN is, over UDP and TCP.
    pub(super) fn turn(&self) -> String {
        self.turn.to_string()
    }

    /// Errors and panics in its log, the first few.
    pub(super) fn faults(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let bad = |line: &&str| line.contains("ERROR") || line.contains("panicked");
        text.lines().filter(bad).take(MAX_LINES).map(|line| line.replace('|', "/")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = clock() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if clock() > until {
                let _ = self.child.kill();
            }
            std::thread::park_timeout(STEP);
        }
    }
}

/// A TCP and a UDP port of loopback that nobody has now.
/// Of HTTP, media and TURN; the last for TCP as well.
fn free_ports() -> std::io::Result<[SocketAddr; 3]> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let both = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok([tcp.local_addr()?, udp.local_addr()?, both.local_addr()?])
}

#[expect(clippy::disallowed_methods, reason = "a real server takes real time")]
fn clock() -> Instant {
    Instant::now()
}
