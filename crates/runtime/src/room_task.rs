//! The task of one room: it feeds the room's inputs, sleeps until its deadline, carries its outputs.
//!
//! * **Owns:** a [`Room`], the sending ends of its sessions, its links to the shards.
//! * **In:** [`Input`]s by the mailbox, events of the shards by queues of their own, time.
//! * **Out:** messages to sessions, commands to shards, one [`DirectoryRequest::Closed`] at the end.
//! * **Invariant:** after every input all outputs are carried out before the next input. When the
//!   task ends, however it ends, nothing of the room is left on a shard.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use hearth_access::AdmittedJoin;
use hearth_metrics::{Metric, SharedCounts};
use hearth_plane::{Command, Event, RoomId, ShardId};
use hearth_room::{
    Call, CallError, Explanation, Join, JoinError, Output, Reply, Room, RoomEvent, SessionId,
};
use hearth_signal::JoinParams;
use hearth_signal::proto::{SignalRequest, SignalResponse};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info};

use crate::WallClock;
use crate::counters::GaugeGuard;
use crate::directory::DirectoryRequest;
use crate::placement::Placement;
use crate::relay::TurnHandle;
use crate::room_events::{self, EventReceiver};
use crate::session::{RequestPermit, SessionOutput};
use crate::shard_link::{RoomShards, ShardLink};

/// Inputs waiting for one room. Each session may have 64 of them, so that a flood of one does not
/// close others.
pub(crate) const MAX_INPUTS: usize = 4_096;

/// Where a room's inputs are put.
pub(crate) type Mailbox = mpsc::Sender<Input>;

/// One thing that happens to a room.
#[derive(Debug)]
pub(crate) enum Input {
    /// A join. If the reply is dropped, the room has ended: ask the directory again.
    Join { join: Box<JoinInput>, reply: oneshot::Sender<Result<(), JoinError>> },
    /// A client's message.
    Signal { session: SessionId, request: Box<SignalRequest>, permit: RequestPermit },
    /// A signal connection ended.
    SessionClosed { session: SessionId },
    /// A request of the server API.
    Call { call: Box<Call>, reply: oneshot::Sender<Result<Reply, CallError>> },
    /// The node stops.
    Stop,
}

/// The parts of a join.
#[derive(Debug)]
pub(crate) struct JoinInput {
    pub(crate) session: SessionId,
    pub(crate) admitted: AdmittedJoin,
    pub(crate) request: JoinParams,
    pub(crate) responses: mpsc::Sender<SessionOutput>,
}

/// Handles of the node that every room task needs.
#[derive(Clone, Debug)]
pub(crate) struct NodeHandles {
    pub(crate) shards: Arc<[ShardLink]>,
    /// [`NodeConfig::room_share`](crate::NodeConfig::room_share).
    pub(crate) room_share: u32,
    pub(crate) counts: Arc<SharedCounts>,
    /// The relay thread, if TURN is offered.
    pub(crate) turn: Option<TurnHandle>,
}

/// See the module documentation.
pub(crate) struct RoomTask {
    id: RoomId,
    room: Room,
    inbox: mpsc::Receiver<Input>,
    sessions: BTreeMap<SessionId, mpsc::Sender<SessionOutput>>,
    /// Sessions that read too slowly; the room is notified before the next input.
    overflowed: VecDeque<SessionId>,
    events: EventReceiver,
    shards: RoomShards,
    placement: Placement,
    around: NodeHandles,
    directory: mpsc::Sender<DirectoryRequest>,
    state: State,
    /// As counted in the node's gauge.
    participants: u64,
    _held: [GaugeGuard; 2],
}

/// The next step of the task.
enum Next {
    Timeout,
    Event(Event),
    Input(Input),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// The room has ended, or it panicked.
    Over,
}

impl RoomTask {
    pub(crate) fn new(
        id: RoomId,
        room: Room,
        inbox: mpsc::Receiver<Input>,
        around: NodeHandles,
        directory: mpsc::Sender<DirectoryRequest>,
    ) -> Self {
        let (event_sender, events) = room_events::channel();
        let held = [Metric::Tasks, Metric::Rooms].map(|what| GaugeGuard::new(&around.counts, what));
        Self {
            id,
            room,
            inbox,
            sessions: BTreeMap::new(),
            overflowed: VecDeque::new(),
            events,
            shards: RoomShards::new(id, Arc::clone(&around.shards), event_sender),
            placement: Placement::new(Arc::clone(&around.shards), around.room_share, id),
            around,
            directory,
            state: State::Open,
            participants: 0,
            _held: held,
        }
    }

    /// Runs until the room is over.
    pub(crate) async fn run(mut self) {
        while self.state == State::Open {
            let due = self.room.poll_timeout();
            // In any order, so that none of them starves the others.
            let next = tokio::select! {
                () = sleep_until(due) => Next::Timeout,
                event = self.events.recv() => Next::Event(event),
                input = self.inbox.recv() => match input {
                    Some(input) => Next::Input(input),
                    None => break,
                },
            };
            let now = WallClock::now();
            match next {
                Next::Timeout => self.turn(|room| room.handle_timeout(now)).await,
                Next::Event(event) => self.turn(|room| room.handle_event(now, event)).await,
                Next::Input(input) => self.handle(now, input).await,
            }
            self.count_participants(self.sessions.len() as u64);
        }
        self.finish().await;
    }

    async fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Join { join, reply } => self.handle_join(now, *join, reply).await,
            Input::Signal { session, request, permit } => {
                if self.sessions.contains_key(&session) {
                    self.turn(|room| room.handle_signal(now, session, *request)).await;
                }
                drop(permit);
            }
            Input::SessionClosed { session } => {
                if self.sessions.remove(&session).is_some() {
                    self.turn(|room| room.handle_session_closed(now, session)).await;
                }
            }
            Input::Call { call, reply } => {
                let mut answer = None;
                self.turn(|room| answer = Some(room.handle_call(now, *call))).await;
                if let Some(answer) = answer {
                    // The caller may have gone away.
                    let _ = reply.send(answer);
                }
            }
            Input::Stop => {
                self.turn(|room| room.handle_shutdown()).await;
                self.state = State::Over;
            }
        }
    }

    async fn handle_join(
        &mut self,
        now: Instant,
        join: JoinInput,
        reply: oneshot::Sender<Result<(), JoinError>>,
    ) {
        let JoinInput { session, admitted, request, responses } = join;
        let shard = self.placement.choose(&self.transports_by_shard());
        self.sessions.insert(session, responses);
        let unix_ms = WallClock::unix_ms();
        let join = Join { session, shard, admitted, request, unix_ms };
        let mut answer = None;
        self.turn(|room| answer = Some(room.handle_join(now, join))).await;
        let Some(answer) = answer else { return };
        if answer.is_err() {
            self.sessions.remove(&session);
        }
        // A caller that went away drops its session, which is another input.
        let _ = reply.send(answer);
    }

    /// Runs the room, then carries out its outputs. A panic ends the room, and only it.
    async fn turn(&mut self, work: impl FnOnce(&mut Room)) {
        let mut outputs = VecDeque::new();
        self.guarded(&mut outputs, work);
        loop {
            while let Some(output) = outputs.pop_front() {
                self.carry_out(output).await;
            }
            let Some(session) = self.overflowed.pop_front() else { return };
            let now = WallClock::now();
            self.guarded(&mut outputs, |room| room.handle_session_closed(now, session));
        }
    }

    fn guarded(&mut self, outputs: &mut VecDeque<Output>, work: impl FnOnce(&mut Room)) {
        let room = &mut self.room;
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(room);
            while let Some(output) = room.poll_output() {
                outputs.push_back(output);
            }
        }));
        if done.is_err() {
            self.around.counts.add(Metric::Panics, 1);
            error!(room = self.id.0, "A room panicked and is discarded");
            self.state = State::Over;
        }
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Signal { session, response } => self.signal(session, response),
            Output::CloseSession { session } => {
                if let Some(responses) = self.sessions.remove(&session) {
                    // Full or gone: the end of the channel says the same.
                    let _ = responses.try_send(SessionOutput::Close);
                }
            }
            Output::Command { shard, command } => self.command(shard, command).await,
            Output::DataDropped => self.around.counts.add(Metric::DropDataNotOpen, 1),
            Output::Event(event) => self.handle_event(event),
            Output::Closed => self.state = State::Over,
        }
    }

    fn signal(&mut self, session: SessionId, response: Box<SignalResponse>) {
        let Some(responses) = self.sessions.get(&session) else { return };
        match responses.try_send(SessionOutput::Signal(response)) {
            // Gone: its end arrives as an input.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                debug!(room = self.id.0, session = session.0, "Session reads too slowly: closed");
                self.around.counts.add(Metric::DropSessions, 1);
                self.sessions.remove(&session);
                self.overflowed.push_back(session);
            }
        }
    }

    async fn command(&mut self, shard: ShardId, command: Command) {
        if !self.shards.send(shard, command).await {
            // The session was given up, which is logged there; the room is notified.
            debug!(room = self.id.0, shard = shard.0, "A command found no shard");
        }
    }

    /// How many transports the room has on each shard.
    fn transports_by_shard(&self) -> Vec<u64> {
        let mut counts = vec![0; self.shards.len()];
        for shard in self.room.transports() {
            if let Some(count) = counts.get_mut(usize::from(shard.0)) {
                *count += 1;
            }
        }
        counts
    }

    fn count_participants(&mut self, participants: u64) {
        let counts = &self.around.counts;
        counts.add(Metric::Participants, participants.wrapping_sub(self.participants));
        self.participants = participants;
    }

    /// Leaves nothing behind. The mailbox closes first: from then on the directory makes a new room
    /// for new joins, and joins that wait in the mailbox ask the directory again.
    async fn finish(mut self) {
        self.inbox.close();
        self.count_participants(0);
        self.shards.close().await;
        for responses in std::mem::take(&mut self.sessions).into_values() {
            let _ = responses.try_send(SessionOutput::Close);
        }
        // The directory may be gone before its last rooms.
        let _ = self.directory.send(DirectoryRequest::Closed { id: self.id }).await;
    }

    /// Until webhooks, agents and dashboards take them, what happens in rooms is logged, and ends what those who have left
    /// had allocated.
    fn explained(&self, identity: String, explanation: Option<Explanation>) {
        let request = DirectoryRequest::Explained { room: self.id, identity, explanation };
        // A directory that is busy loses a word; the log has it.
        let _ = self.directory.try_send(request);
    }

    fn handle_event(&self, event: RoomEvent) {
        log_event(self.id, &event);
        match event {
            RoomEvent::ConnectionExplained { identity, explanation, .. } => {
                self.explained(identity, explanation.map(|explanation| *explanation));
            }
            // What was said of an earlier attempt under this identity is no longer so.
            RoomEvent::ParticipantJoined { participant } => {
                self.explained(participant.identity, None);
            }
            RoomEvent::ParticipantLeft { participant, .. }
            | RoomEvent::ConnectionAborted { participant, .. } => {
                if let Some(turn) = &self.around.turn {
                    turn.revoke(&participant.sid);
                }
            }
            RoomEvent::RoomStarted { .. }
            | RoomEvent::RoomFinished { .. }
            | RoomEvent::TrackPublished { .. }
            | RoomEvent::TrackUnpublished { .. } => {}
        }
    }
}

fn log_event(room: RoomId, event: &RoomEvent) {
    let room = room.0;
    match event {
        RoomEvent::RoomStarted { room: info } => {
            info!(room, sid = info.sid, name = info.name, "Room started");
        }
        RoomEvent::ParticipantJoined { participant } => {
            info!(room, sid = participant.sid, identity = participant.identity, "Joined");
        }
        RoomEvent::ParticipantLeft { participant, reason } => {
            info!(room, sid = participant.sid, reason = reason.as_str_name(), "Left");
        }
        RoomEvent::ConnectionAborted { participant, reason } => {
            let reason = reason.as_str_name();
            info!(room, sid = participant.sid, reason, "Left without a connection");
        }
        RoomEvent::ConnectionExplained { participant_sid, identity, explanation } => {
            let Some(said) = explanation else { return };
            if said.settled {
                info!(
                    room,
                    participant = participant_sid,
                    identity,
                    "Not connected: {}",
                    said.text
                );
            }
            let detail = said.detail.as_deref().unwrap_or_default();
            debug!(
                room,
                participant = participant_sid,
                settled = said.settled,
                detail,
                "{}",
                said.text
            );
        }
        RoomEvent::TrackPublished { participant_sid, track, .. } => {
            info!(room, participant = participant_sid, track = track.sid, "Track published");
        }
        RoomEvent::TrackUnpublished { participant_sid, track, .. } => {
            debug!(room, participant = participant_sid, track = track.sid, "Track unpublished");
        }
        RoomEvent::RoomFinished { room: info } => {
            info!(room, sid = info.sid, "Room finished");
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use hearth_random::Seed;
    use hearth_signal::proto::{DisconnectReason, ParticipantInfo, TrackInfo};

    use super::*;

    /// Nobody sends to it.
    fn task(
        counts: &Arc<SharedCounts>,
        turn: Option<TurnHandle>,
        directory: mpsc::Sender<DirectoryRequest>,
    ) -> RoomTask {
        let counts = Arc::clone(counts);
        let around = NodeHandles { shards: Arc::new([]), room_share: 1, counts, turn };
        let (_, inbox) = mpsc::channel(8);
        let config = Arc::new(hearth_room::RoomConfig::default());
        let room =
            Room::new(WallClock::now(), 0, RoomId(7), "den".to_owned(), config, &Seed::fixed(1));
        RoomTask::new(RoomId(7), room, inbox, around, directory)
    }

    #[test]
    fn only_who_leaves_loses_turn() {
        let poller = hearth_net::Poller::new().unwrap();
        let (turn, inputs) = TurnHandle::new(poller.waker());
        let (directory, _requests) = mpsc::channel(8);
        let task = task(&Arc::default(), Some(turn), directory);
        let of = |sid: &str| {
            Box::new(ParticipantInfo { sid: sid.to_owned(), ..ParticipantInfo::default() })
        };
        let (participant_sid, identity) = ("PA_3".to_owned(), "carol".to_owned());
        let track = Box::new(TrackInfo::default());
        for event in [
            RoomEvent::RoomStarted { room: Box::default() },
            RoomEvent::ParticipantJoined { participant: of("PA_3") },
            RoomEvent::ConnectionExplained {
                participant_sid: participant_sid.clone(),
                identity: identity.clone(),
                explanation: None,
            },
            RoomEvent::TrackUnpublished { participant_sid, identity, track },
            RoomEvent::ParticipantLeft {
                participant: of("PA_1"),
                reason: DisconnectReason::ParticipantRemoved,
            },
            RoomEvent::ConnectionAborted {
                participant: of("PA_2"),
                reason: DisconnectReason::JoinFailure,
            },
            RoomEvent::RoomFinished { room: Box::default() },
        ] {
            task.handle_event(event);
        }
        let revoked: Vec<_> = inputs.leaving.try_iter().collect();
        assert_eq!(revoked, ["PA_1".into(), "PA_2".into()]);
    }

    #[tokio::test]
    async fn a_panic_ends_the_room_tells_its_sessions_and_is_counted() {
        let counts = Arc::new(SharedCounts::default());
        let (directory, mut requests) = mpsc::channel(8);
        let mut task = task(&counts, None, directory);
        let (responses, mut session) = mpsc::channel(8);
        task.sessions.insert(SessionId(1), responses);

        task.turn(|_| panic!("a bug")).await;
        task.run().await;
        assert!(matches!(session.recv().await, Some(SessionOutput::Close)));
        assert!(matches!(requests.recv().await, Some(DirectoryRequest::Closed { id: RoomId(7) })));
        let after = [Metric::Panics, Metric::Rooms, Metric::Tasks].map(|what| counts.get(what));
        assert_eq!(after, [1, 0, 0]);
    }
}
