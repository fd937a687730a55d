//! SRTP and SRTCP: keys, replay window, seal and open.
