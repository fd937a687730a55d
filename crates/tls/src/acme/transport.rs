//! HTTPS to the authority.
//!
//! * **Owns:** whom it trusts: the system's root certificates, and one of a file.
//! * **In:** requests of the ACME client.
//! * **Out:** responses, whole.
//! * **Invariant:** each request has a connection of its own, a deadline and a bound on the length of its response.

use std::error::Error as StdError;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest response: a chain of certificates has a few kilobytes.
const LONGEST: usize = 1 << 20;

type Failed = Box<dyn StdError + Send + Sync>;

/// See the module documentation.
pub(super) struct Transport(TlsConnector);

impl Transport {
    pub(super) fn new(root: Option<&Path>) -> Result<Self, Failed> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = root {
            let found = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| {
                    format!("cannot read tls.acme.root {}: {error}", path.display())
                })?;
            roots.add_parsable_certificates(found);
        }
        if roots.is_empty() {
            return Err("this machine trusts no certificate authority, so the ACME authority cannot be asked: install the package ca-certificates, or name a file in tls.acme.root".into());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let connector = self.0.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            let answered = timeout(DEADLINE, ask(connector, request)).await;
            let answered = answered.unwrap_or_else(|_| Err("it does not answer".into()));
            answered.map(BytesResponse::from).map_err(|error| {
                let host = uri.host().unwrap_or_default();
                Error::Other(format!("{host}: {error}").into())
            })
        })
    }
}

async fn ask(
    connector: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, Failed> {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("https") {
        return Err("an ACME directory must be an https:// address".into());
    }
    let host = uri.host().ok_or("no host in the address")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    let stream = connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>()?;
    let exchange = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    };
    // The connection is driven as long as its one exchange takes.
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answered = &mut exchange => answered,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}
