//! Calls in which everybody keeps changing their mind: whatever happened, once it is quiet every
//! viewer sees what it wants. `SEEDS=100..500` tries others than the usual.

use std::time::Duration;

use crate::support::random::Random;
use crate::support::{CLEAN, VIDEO, World, down_spec};
use hearth_netem::LinkConfig;
use hearth_plane::{Command, LayerLimit};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 3;

/// What may happen in a call.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Mood {
    /// Viewers come, go and change their wishes.
    Steady,
    /// Encodings stop and start, too.
    Moody,
    /// The links are bad, too.
    Bad,
}

/// A viewer, as it should be.
struct Watching {
    at: usize,
    /// It has a subscription of the video.
    subscribed: bool,
    enabled: bool,
    max_encoding: u8,
    /// It was enabled since the last check.
    returned: bool,
}

struct Call {
    world: World,
    seed: u64,
    random: Random,
    shards: u64,
    mood: Mood,
    viewers: Vec<Watching>,
    moves: Vec<String>,
}

#[test]
fn once_it_is_quiet_every_viewer_sees_what_it_wants() {
    let mut seeds = 0..18;
    if let Ok(text) = std::env::var("SEEDS") {
        let (first, end) = text.split_once("..").unwrap();
        seeds = first.parse().unwrap()..end.parse().unwrap();
    }
    for seed in seeds {
        let mut call = Call::new(seed);
        for _ in 0..ROUNDS {
            call.change_minds();
            call.check();
        }
    }
}

#[test]
fn a_key_frame_that_comes_in_part_while_nobody_watches_freezes_nobody() {
    for back_after in (5..130).step_by(10) {
        let mut world = World::call(1, &[0], CLEAN);
        world.limit(1, true, 0);
        world.run_for(5 * SECOND);
        let now = world.now;
        world.viewer(1).reset_freeze(now);
        world.publisher().loses_key_starts = true;
        for (max_encoding, pause) in [(2, 15), (0, back_after), (2, 2_000)] {
            world.limit(1, true, max_encoding);
            world.run_for(MS * pause);
        }
        let report = world.report(1);
        assert_eq!(report.current, Some(2), "after {back_after} ms: {report:?}");
        assert!(report.longest_freeze < SECOND / 10, "after {back_after} ms: {report:?}");
    }
}

impl Call {
    fn new(seed: u64) -> Self {
        let mood = [Mood::Steady, Mood::Moody, Mood::Bad][seed as usize % 3];
        let shards = 1 + (seed / 3 % 2) as u16;
        let mut call = Self {
            world: World::new(seed, shards, CLEAN),
            seed,
            random: Random(seed),
            shards: shards.into(),
            mood,
            viewers: Vec::new(),
            moves: Vec::new(),
        };
        call.world.add_publisher(0);
        for _ in 0..2 + call.random.below(4) {
            call.join();
        }
        call
    }

    /// A round of moves, over links as bad as the mood allows.
    fn change_minds(&mut self) {
        for _ in 0..4 + self.random.below(8) {
            if self.mood == Mood::Bad {
                let link = LinkConfig {
                    loss: self.random.below(10) as f64 / 100.0,
                    jitter: MS * self.random.below(30) as u32,
                    duplicate: self.random.below(5) as f64 / 100.0,
                    reorder: self.random.below(5) as f64 / 100.0,
                    ..CLEAN
                };
                self.world.set_links(link);
            }
            self.one_move();
            let longest = [200, 1_000, 4_000][self.random.below(3) as usize];
            let pause = MS * (100 + self.random.below(longest - 100) as u32);
            self.world.run_for(pause);
        }
    }

    fn one_move(&mut self) {
        let watching = self.random.below(self.viewers.len() as u64) as usize;
        let kinds = if self.mood == Mood::Steady { 12 } else { 18 };
        match self.random.below(kinds) {
            0 if self.viewers.len() < 5 => self.join(),
            1 if self.viewers.len() > 2 => self.leave(watching),
            2 => self.unsubscribe(watching),
            3 => self.renegotiate(watching),
            0..12 => self.limit(watching),
            12 => self.mute(),
            _ => self.toggle(),
        }
    }

    fn join(&mut self) {
        let home = self.random.below(self.shards) as usize;
        let at = self.world.add_viewer(home, home);
        self.note(format!("viewer {at} joins shard {home}"));
        let (subscribed, enabled, returned) = (true, true, false);
        self.viewers.push(Watching { at, subscribed, enabled, max_encoding: 2, returned });
    }

    fn leave(&mut self, watching: usize) {
        let at = self.viewers.swap_remove(watching).at;
        self.note(format!("viewer {at} leaves"));
        let (home, peer) = (self.world.nodes[at].home, self.world.nodes[at].peer);
        self.world.command(home, Command::RemovePeer { peer });
        self.world.client(at).vanish();
    }

    fn unsubscribe(&mut self, watching: usize) {
        let viewer = &mut self.viewers[watching];
        viewer.subscribed = false;
        let at = viewer.at;
        self.note(format!("viewer {at} unsubscribes"));
        let down = down_spec(at as u32, VIDEO).down;
        self.world.command(self.world.nodes[at].home, Command::RemoveDownTrack { down });
    }

    fn renegotiate(&mut self, watching: usize) {
        let Watching { at, subscribed, enabled, max_encoding, .. } = self.viewers[watching];
        if subscribed {
            self.note(format!("viewer {at} renegotiates"));
            let spec = Box::new(down_spec(at as u32, VIDEO));
            let limit = LayerLimit { enabled, spatial: max_encoding, ..LayerLimit::ALL };
            let home = self.world.nodes[at].home;
            self.world.command(home, Command::SetDownTrack { spec, limit });
        }
    }

    fn limit(&mut self, watching: usize) {
        let (enabled, max_encoding) = (self.random.below(4) > 0, self.random.below(3) as u8);
        let viewer = &mut self.viewers[watching];
        let (at, returns) = (viewer.at, enabled && !viewer.enabled);
        (viewer.enabled, viewer.max_encoding) = (enabled, max_encoding);
        viewer.returned |= returns;
        self.note(format!("viewer {at} wishes {enabled} {max_encoding}"));
        self.world.limit(at, enabled, max_encoding);
        if returns {
            let now = self.world.now;
            self.world.viewer(at).reset_freeze(now);
        }
    }

    fn mute(&mut self) {
        let muted = self.world.publisher().enabled != [false; 3];
        self.note(format!("publisher is muted: {muted}"));
        self.world.command(0, Command::SetUpTrackMuted { track: VIDEO, muted });
        self.world.publisher().enabled = [!muted; 3];
    }

    fn toggle(&mut self) {
        let encoding = self.random.below(3) as usize;
        let sent = &mut self.world.publisher().enabled[encoding];
        *sent = !*sent;
        let what = format!("publisher sends {encoding}: {sent}");
        self.note(what);
    }

    /// Waits until it is quiet, and looks at every viewer.
    fn check(&mut self) {
        self.world.set_links(CLEAN);
        let viewers: Vec<usize> = self.viewers.iter().map(|viewer| viewer.at).collect();
        let connected =
            |world: &mut World| viewers.iter().all(|at| world.client(*at).is_connected());
        assert!(self.world.run_until(10 * SECOND, connected), "somebody does not connect");
        self.note("quiet".to_owned());
        self.world.run_for(2 * SECOND);
        let before: Vec<_> = viewers.iter().map(|at| self.world.report(*at)).collect();
        let now = self.world.now;
        for at in &viewers {
            self.world.viewer(*at).reset_freeze(now);
        }
        self.world.run_for(SECOND);
        let sent = self.world.publisher().enabled;
        for (viewer, before) in self.viewers.iter_mut().zip(before) {
            let report = self.world.report(viewer.at);
            let context = format!("viewer {}: {report:?} after {before:?}", viewer.at);
            let frames = |frames: [u64; 3]| frames.iter().sum::<u64>();
            let shown = frames(report.frames) - frames(before.frames);
            assert!(report.audio.packets > before.audio.packets + 45, "{context}");
            if viewer.subscribed && viewer.enabled && sent != [false; 3] {
                let best = (0..=viewer.max_encoding).rev().find(|i| sent[usize::from(*i)]);
                let lowest = (0..3).find(|i| sent[usize::from(*i)]);
                assert_eq!(report.current, best.or(lowest), "{context}");
                assert!(shown >= 28 && report.longest_freeze < SECOND / 10, "{context}");
            } else {
                assert_eq!(report.packets, before.packets, "{context}");
            }
            let faults = (report.contradictions, report.time_backwards, report.undecodable);
            assert_eq!(faults, (0, 0, 0), "{context}");
            if self.mood != Mood::Bad {
                let jumps = (report.jumps, report.picture_jumps, report.feedback.nacks);
                assert_eq!(jumps, (0, 0, 0), "{context}");
            }
            if self.mood == Mood::Steady && viewer.subscribed && viewer.enabled {
                // A key frame may have to wait for the time between two requests.
                let most = if viewer.returned { 700 * MS } else { SECOND / 10 };
                assert!(before.longest_freeze < most, "{context}");
            }
            viewer.returned = false;
        }
    }

    fn note(&mut self, what: String) {
        self.moves.push(format!("{:>7.3} {what}", (self.world.now - self.world.t0).as_secs_f64()));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}:\n{}", self.seed, self.moves.join("\n"));
        }
    }
}
