//! A port held while a second instance tries to reach it.
//!
//! * **Owns:** a socket and the task that answers on it.
//! * **In:** connections; STUN binding requests. **Out:** answers that are shorter.
//! * **Invariant:** with the value the socket is gone.

use std::net::SocketAddr;

use hearth_runtime::stun_probe;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// See the module documentation.
pub(super) struct Listener {
    task: JoinHandle<()>,
    tcp: Option<SocketAddr>,
}

impl Listener {
    /// Accepts connections and closes them.
    pub(super) fn tcp(listener: TcpListener) -> Self {
        let tcp = listener.local_addr().ok();
        let task = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        Self { task, tcp }
    }

    /// Binds a port, and answers who asks whether it is reached.
    pub(super) fn udp(addr: SocketAddr) -> std::io::Result<Self> {
        let socket = hearth_net::plain_udp(addr)?;
        let socket = UdpSocket::from_std(socket)?;
        let task = tokio::spawn(async move {
            let mut buf = [0; 256];
            loop {
                let Ok((len, from)) = socket.recv_from(&mut buf).await else { continue };
                let request = buf.get(..len).unwrap_or_default();
                if let Some((answer, len)) = stun_probe::answer(request, from) {
                    let _ = socket.send_to(answer.get(..len).unwrap_or_default(), from).await;
                }
            }
        });
        Ok(Self { task, tcp: None })
    }

    /// Whether it has this TCP port at all addresses: on most systems that of IPv6 takes IPv4 too.
    pub(super) fn is_tcp_of(&self, port: u16) -> bool {
        self.tcp.is_some_and(|addr| addr.port() == port && addr.ip().is_unspecified())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
