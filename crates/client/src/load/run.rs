//! Runs a plan: joins at the requested rate, waits, collects reception statistics.
//!
//! * **Owns:** the tasks of a test.
//! * **In:** a [`Plan`], a request to stop.
//! * **Out:** a [`Second`] each second, a [`Report`] at the end, also when it was stopped.
//! * **Invariant:** a participant that cannot join is counted with the reason, and stops no
//!   other; if none can join, that reason is the error.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_access::{TokenBuilder, VideoGrant};
use hearth_codec::Codec;
use hearth_net::UdpSocket;
use hearth_net::WallClock;
use hearth_peer::{Certificate, Context};
use hearth_random::{Purpose, Seed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::plan::{Plan, PlanError, Role};
use super::report::{Joined, Report};
use crate::attacker::Attacker;
use crate::client::{DataStream, Milestones, Newcomer};
use crate::description::Published;
use crate::media::AudioClip;
use crate::publisher::{Track, clips};
use crate::session::Session;
use crate::socket::{JoinError, carry, join, websocket_url};
use crate::thread::{self, Arriving, Handle, Input, Outcome, Second};

/// Of a token; no test is longer.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// From the last leave until connections are cut.
const GOODBYE: Duration = Duration::from_secs(3);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No participant could join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// This machine lacks something.
    #[error("this machine cannot run the test: {0}")]
    Local(String),
}

/// The state shared by all participants.
struct Test {
    plan: Plan,
    url: String,
    local: std::net::IpAddr,
    certificate: Arc<Certificate>,
    context: Context,
    audio: Arc<AudioClip>,
    thread: Handle,
    seed: Seed,
}

/// Runs a test until its duration is over or `stop` completes.
///
/// # Errors
///
/// [`LoadError`]: the plan is wrong, or not a single participant could join.
pub async fn run(
    plan: Plan,
    mut progress: impl FnMut(&Second),
    stop: impl Future<Output = ()>,
) -> Result<Report, LoadError> {
    plan.check()?;
    let url = websocket_url(&plan.url)?;
    let local_error = |error: &dyn std::fmt::Display| LoadError::Local(error.to_string());
    let certificate = Arc::new(Certificate::generate().map_err(|error| local_error(&error))?);
    let (seconds, mut ticks) = mpsc::unbounded_channel();
    let thread = thread::start(seconds).map_err(|error| local_error(&error))?;
    let test = Arc::new(Test {
        local: local_address(&url)?,
        url,
        context: Context::new(Arc::clone(&certificate)).map_err(|error| local_error(&error))?,
        certificate,
        audio: Arc::new(AudioClip::speech()),
        thread: thread.clone(),
        seed: hearth_net::seed_from_system().map_err(|error| local_error(&error))?,
        plan,
    });
    let mut joins = JoinSet::new();
    let mut joined: Vec<Joined> = Vec::new();
    let mut timeline = Vec::new();
    let mut pending = test.plan.roles().enumerate().peekable();
    let pace = Duration::from_secs_f64(1.0 / test.plan.joins_per_second);
    let mut pacer = tokio::time::interval(pace);
    let mut end = None;
    tokio::pin!(stop);
    loop {
        if pending.peek().is_none() && joins.is_empty() && end.is_none() {
            // From the last join on.
            if joined.iter().all(|joined| joined.error.is_some()) {
                thread.send(Input::Finish(tokio::sync::oneshot::channel().0));
                let error = joined.into_iter().find_map(|joined| joined.error);
                return Err(error.unwrap_or(JoinError::Timeout).into());
            }
            end = Some(test.plan.duration.map(|duration| tokio::time::Instant::now() + duration));
            thread.send(Input::Begin { speakers: test.plan.simulate_speakers });
        }
        let over = async {
            match end {
                Some(Some(at)) => tokio::time::sleep_until(at).await,
                Some(None) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = pacer.tick(), if pending.peek().is_some() => {
                if let Some((key, role)) = pending.next() {
                    joins.spawn(enter(Arc::clone(&test), key, role));
                }
            }
            Some(entered) = joins.join_next(), if !joins.is_empty() => {
                joined.extend(entered.ok());
            }
            Some(second) = ticks.recv() => {
                progress(&second);
                let were_there = timeline.iter().any(|before: &Second| before.connected > 0);
                let nobody_left = end.is_some() && were_there && second.connected == 0;
                timeline.push(second);
                if nobody_left {
                    break;
                }
            }
            () = over => break,
            () = &mut stop => break,
        }
    }
    joins.abort_all();
    let (done, outcome) = tokio::sync::oneshot::channel();
    thread.send(Input::Finish(done));
    let outcome: Outcome =
        outcome.await.map_err(|_| LoadError::Local("the media thread ended".to_owned()))?;
    // The tasks end when the goodbyes are written, as their outboxes are dropped.
    let tasks = joined.iter_mut().filter_map(|joined| joined.task.take());
    let goodbyes = futures_util::future::join_all(tasks);
    let _ = tokio::time::timeout(GOODBYE, goodbyes).await;
    Ok(Report::new(&test.plan, joined, outcome, timeline))
}

/// One participant joins.
async fn enter(test: Arc<Test>, key: usize, role: Role) -> Joined {
    let began = WallClock::now();
    let mut joined = Joined { key, role, error: None, answered: None, task: None };
    let prefix = &test.plan.identity_prefix;
    let alone = test.plan.roles().nth(1).is_none();
    let identity = if alone { prefix.clone() } else { format!("{prefix}-{key}") };
    let entered = async {
        let broken = |error: &dyn std::fmt::Display| JoinError::Broken(error.to_string());
        let token = TokenBuilder::new()
            .identity(&identity)
            .video(VideoGrant::join(&test.plan.room))
            .sign(&test.plan.api_key, &test.plan.api_secret, WallClock::unix_secs(), TOKEN_LIFE)
            .map_err(|error| broken(&error))?;
        let socket = UdpSocket::bind_group(SocketAddr::new(test.local, 0), 1)
            .map_err(|error| broken(&error))?
            .pop()
            .ok_or_else(|| broken(&"no socket"))?;
        socket.note_arrivals().map_err(|error| broken(&error))?;
        let mut newcomer = participant(&test, (key, role), socket.local_addr(), began);
        let request = newcomer.session.join_request();
        let (signal, first) = join(&test.url, &token, &request).await?;
        let answered = WallClock::now();
        let (outbox, requests) = mpsc::unbounded_channel();
        let first = (answered, first);
        test.thread.send(Input::Add(Box::new(Arriving { key, newcomer, first, socket, outbox })));
        let task = tokio::spawn(carry(signal, requests, (key, test.thread.clone())));
        Ok((answered, task))
    };
    match entered.await {
        Ok((answered, task)) => {
            joined.answered = Some(answered - began);
            joined.task = Some(task);
        }
        Err(error) => joined.error = Some(error),
    }
    joined
}

fn participant(
    test: &Test,
    (key, role): (usize, Role),
    local: SocketAddr,
    began: Instant,
) -> Newcomer {
    let plan = &test.plan;
    let seed = test.seed.derive(Purpose::Client, key as u64);
    let mut secrets = seed.rng(Purpose::IceCredentials);
    let ice =
        hearth_plane::IceCredentials { ufrag: secrets.ice_chars(8), pwd: secrets.ice_chars(24) };
    let fingerprint = test.certificate.fingerprint();
    let id = seed.rng(Purpose::SessionId).next_u64();
    let mut session = Session::new((ice, fingerprint), id, role.subscribes, plan.audience.layout);
    let stamps_from: Option<Instant> = plan.stamped.then_some(test.thread.epoch);
    let mut rng = seed.rng(Purpose::FirstNumbers);
    // Of media and of its retransmissions: even, and each another.
    let first = seed.rng(Purpose::MediaSsrc).next_u32() & !1;
    let mut ssrcs = (0..).map(|n: u32| first.wrapping_add(4 * n)).map(|ssrc| (ssrc, ssrc ^ 2));
    let mut ssrcs = |count: usize| -> Vec<(u32, u32)> { ssrcs.by_ref().take(count).collect() };
    let mut tracks = Vec::new();
    let mut published = Vec::new();
    if role.audio {
        let track = Published { cid: format!("audio-{key}"), codec: Codec::Opus, ssrcs: ssrcs(1) };
        published.push((track, Vec::new()));
    }
    if role.video {
        let clips = clips(plan.video.codec, plan.video.height, plan.video.simulcast);
        let (cid, codec) = (format!("video-{key}"), plan.video.codec);
        published.push((Published { cid, codec, ssrcs: ssrcs(clips.len()) }, clips));
    }
    for (track, clips) in published {
        session.publish(track.clone(), &clips);
        tracks.push(if track.codec == Codec::Opus {
            Track::audio(&track, Arc::clone(&test.audio), stamps_from, &mut rng)
        } else {
            Track::video(test.thread.epoch, &track, clips, stamps_from, &mut rng)
        });
    }
    let data = role.data.then(|| DataStream {
        interval: Duration::from_secs(1) / plan.data.rate.max(1),
        size: plan.data.size,
        reliable: plan.data.reliable,
    });
    let context = test.context.clone();
    let attack = plan.audience.attack.clone().filter(|_| role.only_subscribes());
    let attacker = attack.map(|attack| Attacker::new(attack, seed.rng(Purpose::Client)));
    Newcomer { session, tracks, data, attacker, local, context, seed, began }
}

/// The address of ours from which the server is reached.
fn local_address(url: &str) -> Result<std::net::IpAddr, LoadError> {
    let unreachable = |cause: &dyn std::fmt::Display| {
        LoadError::Join(JoinError::Unreachable { url: url.to_owned(), cause: cause.to_string() })
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("ws", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    let with_port = if authority.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if scheme == "wss" { 443 } else { 80 })
    };
    let server = with_port
        .to_socket_addrs()
        .map_err(|error| unreachable(&error))?
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| unreachable(&"the name has no address"))?;
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    // Connecting a UDP socket sends nothing: it asks the routing table.
    let socket = std::net::UdpSocket::bind(any).map_err(|error| unreachable(&error))?;
    socket.connect(server).map_err(|error| unreachable(&error))?;
    socket.local_addr().map(|addr| addr.ip()).map_err(|error| unreachable(&error))
}

/// How long each step took.
pub(super) fn steps(milestones: &Milestones) -> [Option<Duration>; 3] {
    let since = |to: Option<Instant>| Some(to?.saturating_duration_since(milestones.began?));
    [since(milestones.joined), since(milestones.connected), since(milestones.first_media)]
}
