//! A shard in virtual time, with clients and the links between them.

#[cfg(test)]
mod busy_room;
#[cfg(test)]
mod changes_of_mind;
#[cfg(test)]
mod destinations;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod no_alloc;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod ssrcs;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tie_breaker;
#[cfg(test)]
mod viewers;
