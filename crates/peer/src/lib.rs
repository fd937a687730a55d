//! One transport: ICE, DTLS, SCTP, SRTP, and the RTCP that belongs to it.
