//! Connections to an upstream, kept and used again: plain or over TLS, directly or through an HTTP proxy.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Request, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// How long a connection that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(60);

/// Which authorities may vouch for an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts.
    #[default]
    System,
    /// These alone, as PEM.
    Only(Vec<u8>),
    /// These besides the system's, as PEM: a company's own.
    Also(Vec<u8>),
}

/// An HTTP proxy before an upstream. It is asked for a tunnel (CONNECT), so that it sees no key of an upstream over TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Where it is, `http://HOST:PORT`.
    pub address: String,
    /// What it wants in `proxy-authorization`, a secret.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A server without TLS must not fail for want of roots, so that each kind is its own.
pub(super) enum Connections {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    PlainByProxy(Client<Tunnel<HttpConnector>, Full<Bytes>>),
    TlsByProxy(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl Connections {
    /// None is made yet.
    ///
    /// # Errors
    /// Roots cannot be read, or the proxy's address is none.
    pub(super) fn new(
        tls: bool,
        connect: Duration,
        proxy: Option<&HttpProxy>,
        roots: &Roots,
    ) -> io::Result<Connections> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect));
        let builder = builder();
        let tunnel = proxy.map(|proxy| tunnel(proxy, connector.clone())).transpose()?;
        Ok(match (tls, tunnel) {
            (false, None) => Connections::Plain(builder.build(connector)),
            (false, Some(tunnel)) => Connections::PlainByProxy(builder.build(tunnel)),
            (true, None) => Connections::Tls(builder.build(https(roots)?.wrap_connector(connector))),
            (true, Some(tunnel)) => {
                Connections::TlsByProxy(builder.build(https(roots)?.wrap_connector(tunnel)))
            }
        })
    }

    pub(super) fn request(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        match self {
            Connections::Plain(client) => client.request(request),
            Connections::Tls(client) => client.request(request),
            Connections::PlainByProxy(client) => client.request(request),
            Connections::TlsByProxy(client) => client.request(request),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(KEPT).pool_timer(hyper_util::rt::TokioTimer::new());
    builder
}

fn tunnel(proxy: &HttpProxy, connector: HttpConnector) -> io::Result<Tunnel<HttpConnector>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("the proxy's {what}"));
    let address: Uri =
        proxy.address.parse().map_err(|_| wrong("address is none; `http://HOST:PORT` is one"))?;
    if address.scheme_str() != Some("http") || address.authority().is_none() {
        return Err(wrong("address is none; `http://HOST:PORT` is one"));
    }
    let tunnel = Tunnel::new(address, connector);
    let Some(secret) = &proxy.authorization else { return Ok(tunnel) };
    let mut secret = HeaderValue::try_from(secret).map_err(|_| wrong("authorization cannot be sent"))?;
    secret.set_sensitive(true);
    Ok(tunnel.with_auth(secret))
}

type Https = HttpsConnectorBuilder<hyper_rustls::builderstates::WantsProtocols3>;

fn https(roots: &Roots) -> io::Result<Https> {
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match roots {
        Roots::System => config.with_native_roots()?,
        Roots::Only(pem) => {
            let mut store = RootCertStore::empty();
            add(&mut store, pem)?;
            config.with_root_certificates(store)
        }
        Roots::Also(pem) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            add(&mut store, pem)?;
            config.with_root_certificates(store)
        }
    };
    let config = config.with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().enable_http2())
}

fn add(store: &mut RootCertStore, pem: &[u8]) -> io::Result<()> {
    let wrong = |why: String| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the TLS roots cannot be read: {why}"))
    };
    let before = store.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        store.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if store.len() == before {
        Err(wrong("there is no certificate in the PEM file".to_owned()))
    } else {
        Ok(())
    }
}
