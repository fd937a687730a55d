//! A room in virtual time, with clients that speak as browsers do.
#![cfg_attr(
    test,
    expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the one variant it means")
)]

#[cfg(test)]
mod calls;
#[cfg(test)]
mod common;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod departures;
#[cfg(test)]
mod diagnosis;
#[cfg(test)]
mod dynacast;
#[cfg(test)]
mod events;
#[cfg(test)]
mod rules;

mod tcp;
#[cfg(test)]
mod visibility;
