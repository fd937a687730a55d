//! How loud the microphones of rooms are.
//!
//! * **Owns:** when the rooms are told next; the meter is the track's.
//! * **In:** time. **Out:** [`Event::Levels`], one for each room where something has changed.

use std::time::{Duration, Instant};

use hearth_plane::{Event, Level};

use crate::Shard;
use crate::panic_scope::Scope;

/// livekit-server: speakers every 400 ms.
const INTERVAL: Duration = Duration::from_millis(400);

impl Shard {
    /// Tells the rooms how loud their microphones are, if that is due.
    pub(crate) fn send_levels(&mut self, now: Instant) {
        if now < self.next_levels {
            return;
        }
        self.next_levels = now + INTERVAL;
        let mut changed: Vec<Level> = Vec::new();
        for index in 0..self.graph.tracks.end() {
            let Some(key) = self.graph.tracks.key_at(index) else { continue };
            let local = self.graph.tracks.get(key).filter(|entry| entry.publisher().is_some());
            let Some(track) = local.map(|entry| entry.id) else { continue };
            let poll = |shard: &mut Self| shard.graph.tracks.get_mut(key)?.track.poll_level(now);
            if let Some(level) = self.guarded(Scope::Track(track), poll).flatten() {
                changed.push(Level { track, level });
            }
        }
        changed.sort_by_key(|level| level.track);
        for levels in changed.chunk_by(|a, b| a.track.room == b.track.room) {
            self.out.event(Event::Levels { levels: levels.to_vec() });
        }
    }
}
