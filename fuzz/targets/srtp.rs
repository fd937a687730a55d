//! A packet from a stranger: it is refused, changes nothing, and as plaintext it survives sealing and
//! opening.
#![no_main]

use hearth_rtp::RtpView;
use hearth_srtp::{Opener, Profile, RTCP_OVERHEAD, RTP_OVERHEAD, Sealer, Session, SrtpError};
use libfuzzer_sys::fuzz_target;

const PROFILES: [Profile; 3] =
    [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

fuzz_target!(|packet: &[u8]| {
    for profile in PROFILES {
        let (mut sealer, _) = side(profile, true);
        let (_, mut opener) = side(profile, false);
        assert!(opener.open_rtp(&mut packet.to_vec()).is_err(), "{profile:?}");
        assert!(opener.open_rtcp(&mut packet.to_vec()).is_err(), "{profile:?}");

        if let Ok(view) = RtpView::parse(packet) {
            let mut sealed = [packet, &[0; RTP_OVERHEAD]].concat();
            let index = u64::from(view.seq);
            let len = sealer.seal_rtp(&mut sealed, view.header_len, packet.len(), index);
            sealed.truncate(len.expect("there is room"));
            refuses_a_changed_byte(&sealed, |buf| opener.open_rtp(buf).map(|_| ()));
            let opened = opener.open_rtp(&mut sealed).expect("it is the other side's");
            assert_eq!((&sealed[..opened.len], opened.index), (packet, index));
        }
        if packet.len() >= 8 {
            let mut sealed = [packet, &[0; RTCP_OVERHEAD]].concat();
            let len = sealer.seal_rtcp(&mut sealed, packet.len()).expect("there is room");
            sealed.truncate(len);
            refuses_a_changed_byte(&sealed, |buf| opener.open_rtcp(buf).map(|_| ()));
            let opened = opener.open_rtcp(&mut sealed).expect("it is the other side's");
            assert_eq!(&sealed[..opened.len], packet);
        }
    }
});

fn side(profile: Profile, is_dtls_server: bool) -> (Sealer, Opener) {
    let material: Vec<u8> = (0..96).collect();
    Session::from_dtls(profile, &material, is_dtls_server).expect("96 bytes are enough")
}

fn refuses_a_changed_byte(sealed: &[u8], mut open: impl FnMut(&mut [u8]) -> Result<(), SrtpError>) {
    let mut changed = sealed.to_vec();
    let at = usize::from(sealed[sealed.len() - 1]) % sealed.len();
    changed[at] ^= 1;
    assert!(open(&mut changed).is_err(), "byte {at}");
}
