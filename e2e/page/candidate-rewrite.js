// `?rewrite=7882-9000` sends media to port 9000 where the server says 7882: its candidates are changed before the
// browser sees them. So tests put a network of their own in between.

(() => {
  const rewrite = new URLSearchParams(window.location.search).get('rewrite');
  if (!rewrite) return;
  const [told, used] = rewrite.split('-');
  const redirect = (text) => text.replaceAll(new RegExp(`(candidate:\\S+ \\d+ udp \\d+ \\S+) ${told} `, 'gi'), `$1 ${used} `);

  window.RTCPeerConnection = class RTCPeerConnection extends window.RTCPeerConnection {
    setRemoteDescription({ type, sdp }) {
      return super.setRemoteDescription({ type, sdp: redirect(sdp) });
    }

    addIceCandidate(init) {
      if (!init?.candidate) return super.addIceCandidate(init);
      const { candidate, sdpMid, sdpMLineIndex, usernameFragment } = init;
      return super.addIceCandidate({ candidate: redirect(candidate), sdpMid, sdpMLineIndex, usernameFragment });
    }
  };
})();
