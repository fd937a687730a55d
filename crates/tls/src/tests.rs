//! Which certificate a handshake gets, between a client and a server in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use crate::{Pair, PairFiles, Tls, watch_files};

fn pem(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn pair(name: &str) -> Pair {
    let (cert, key) = pem(name);
    Pair::from_pem((Path::new("c"), cert.as_bytes()), (Path::new("k"), key.as_bytes())).unwrap()
}

/// What a client gets that asks for a name: whether it is a challenge, the protocol, and whether the certificate is this one.
async fn got(
    tls: &Tls,
    name: &str,
    alpn: &[&[u8]],
    expected: &Pair,
) -> Option<(bool, Vec<u8>, bool)> {
    let (ours, theirs) = tokio::io::duplex(16_384);
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trusting::Anyone))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let client = TlsConnector::from(Arc::new(config));
    let server = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), ours).await.ok()?;
        let handshake = tls.handshake(&start.client_hello());
        let stream = start.into_stream(handshake.config).await.ok()?;
        Some((handshake.challenge, stream))
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (server, client) = tokio::join!(server, client.connect(name, theirs));
    let ((challenge, _), client) = (server?, client.ok()?);
    let (_, connection) = client.get_ref();
    let certificate = connection.peer_certificates()?.first()?;
    let expected = expected.certified();
    let protocol = connection.alpn_protocol().unwrap_or_default().to_vec();
    Some((challenge, protocol, *certificate == expected.cert[0]))
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let tls = Tls::new();
    let (first, second) = (tls.add_slot(), tls.add_slot());
    let (a, b) = (pair("a.example"), pair("*.b.example"));
    assert!(got(&tls, "a.example", &[], &a).await.is_none(), "there is none yet");
    tls.set(second, b.clone());
    assert!(got(&tls, "a.example", &[], &b).await.unwrap().2, "better than none");
    tls.set(first, a.clone());
    let turn = tls.preferring(second);
    for (tls, name, expected) in [
        (&tls, "a.example", &a),
        (&tls, "x.b.example", &b),
        (&tls, "X.B.example", &b),
        (&tls, "c.example", &a),
        (&tls, "192.0.2.7", &a),
        (&turn, "a.example", &a),
        (&turn, "c.example", &b),
    ] {
        assert!(got(tls, name, &[], expected).await.unwrap().2, "{name}");
    }
    let newer = pair("a.example");
    tls.set(first, newer.clone());
    assert!(got(&turn, "a.example", &[], &newer).await.unwrap().2);
}

#[tokio::test]
async fn a_challenge_is_answered_while_it_is_awaited_and_to_nobody_else() {
    let tls = Tls::new();
    let slot = tls.add_slot();
    let (own, answer) = (pair("a.example"), pair("a.example"));
    tls.set(slot, own.clone());
    let challenge: &[&[u8]] = &[b"acme-tls/1"];
    assert!(got(&tls, "a.example", challenge, &answer).await.is_none());
    tls.set_challenge("a.example", Some(answer.certified()));
    let seen = got(&tls, "a.example", challenge, &answer).await;
    assert_eq!(seen, Some((true, b"acme-tls/1".to_vec(), true)));
    assert!(got(&tls, "b.example", challenge, &answer).await.is_none());
    for (alpn, protocol) in [
        (&[&b"h2"[..], b"http/1.1"][..], &b"http/1.1"[..]),
        (&[b"stun.turn"], b"stun.turn"),
        (&[], b""),
    ] {
        let seen = got(&tls, "a.example", alpn, &own).await;
        assert_eq!(seen, Some((false, protocol.to_vec(), true)));
    }
    tls.set_challenge("a.example", None);
    assert!(got(&tls, "a.example", challenge, &answer).await.is_none());
}

/// Files in a folder of their own.
struct Files(PathBuf, PairFiles);

impl Files {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hearth-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let pair = PairFiles { cert: dir.join("c.pem"), key: dir.join("k.pem") };
        Self(dir, pair)
    }

    fn write(&self, (cert, key): &(String, String)) {
        fs::write(&self.1.cert, cert).unwrap();
        fs::write(&self.1.key, key).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets so many seconds of virtual time pass.
async fn pass(seconds: u64) {
    let _ = timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_served_and_broken_ones_are_not() {
    let files = Files::new("changed");
    files.write(&pem("old.example"));
    let tls = Tls::new();
    let slot = tls.add_slot();
    let old = files.1.read().unwrap();
    tls.set(slot, old.clone());
    let (reload, asked) = mpsc::channel(1);
    let watching = tokio::spawn(watch_files(tls.clone(), vec![(slot, files.1.clone())], asked));
    pass(5).await;

    // A certificate without its key yet, garbage, nothing: the old one stays.
    let new = pem("longer-name.example");
    for text in [new.0.as_str(), "garbage"] {
        fs::write(&files.1.cert, text).unwrap();
        pass(10).await;
        assert!(got(&tls, "old.example", &[], &old).await.unwrap().2, "{text}");
    }
    fs::remove_file(&files.1.cert).unwrap();
    reload.send(()).await.unwrap();
    pass(10).await;
    assert!(got(&tls, "old.example", &[], &old).await.unwrap().2);

    files.write(&new);
    pass(10).await;
    let replaced = files.1.read().unwrap();
    assert!(got(&tls, "x", &[], &replaced).await.unwrap().2);
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn files_are_read_at_once_when_the_operator_says_so() {
    let files = Files::new("asked");
    files.write(&pem("old.example"));
    let tls = Tls::new();
    let slot = tls.add_slot();
    let (reload, asked) = mpsc::channel(1);
    let watching = tokio::spawn(watch_files(tls.clone(), vec![(slot, files.1.clone())], asked));
    reload.send(()).await.unwrap();
    let pair = files.1.read().unwrap();
    let served = async {
        while !got(&tls, "x", &[], &pair).await.is_some_and(|(_, _, same)| same) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(1), served).await.unwrap();
    drop(reload);
    pass(60).await;
    assert!(!watching.is_finished(), "files are watched though nobody can ask any more");
    watching.abort();
}

/// A client that does not look at certificates.
mod trusting {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct Anyone;

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
