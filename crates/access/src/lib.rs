//! Access tokens and what they grant.
