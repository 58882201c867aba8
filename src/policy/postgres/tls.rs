//! TLS for connections to PostgreSQL.

use super::super::pem;
use super::address::{CertificateCheck, PostgresAddress};
use crate::error::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};
use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

/// Secures connections.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(super) fn new(address: &PostgresAddress) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let refuse = |why: &dyn Display| Error::config("policy", &address.shown, why.to_string());
        let [authority, certificate, key] = &address.files;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse(&error))?;
        let is_unused = address.config.get_ssl_mode() == SslMode::Disable;
        let verifier: Option<Arc<dyn ServerCertVerifier>> = match (address.verify, authority) {
            (CertificateCheck::Nothing, _) => None,
            _ if is_unused => None,
            (_, Some(path)) => {
                let (mut roots, found) = (RootCertStore::empty(), certificates(path)?);
                roots.add_parsable_certificates(found);
                let verifier = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                Some(verifier.build().map_err(|error| refuse(&error))?)
            }
            (_, None) => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider));
                Some(Arc::new(verifier.map_err(|error| refuse(&error))?))
            }
        };
        let verifier: Arc<dyn ServerCertVerifier> = match (address.verify, verifier) {
            (CertificateCheck::Host, Some(verifier)) => verifier,
            (_, inner) => Arc::new(Lenient { inner, provider }),
        };
        let builder: ConfigBuilder<ClientConfig, WantsClientCert> =
            builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match (certificate, key) {
            (Some(certificate), Some(key)) if !is_unused => {
                let bytes = pem::read(key)?;
                let read =
                    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| pem::refuse(key, &e))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, read)
                    .map_err(|error| Error::config("policy", key, error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = pem::read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found.map_err(|error| pem::refuse(path, &error))? {
        none if none.is_empty() => Err(pem::refuse(path, &"it has no certificate")),
        found => Ok(found),
    }
}

/// Accepts any name in a certificate and, without `inner`, any certificate.
#[derive(Debug)]
struct Lenient {
    inner: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Secures a connection to one host.
pub(super) struct TlsHandshake {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = SecureStream;
    type TlsConnect = TlsHandshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<TlsHandshake, Self::Error> {
        // A socket file has no name, and no TLS.
        let domain = if domain.is_empty() { "localhost" } else { domain };
        let host = ServerName::try_from(domain)?.to_owned();
        Ok(TlsHandshake { connector: Arc::clone(&self.0).into(), host })
    }
}

impl TlsConnect<Socket> for TlsHandshake {
    type Stream = SecureStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<SecureStream>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            Ok(SecureStream(Box::new(self.connector.connect(self.host, stream).await?)))
        })
    }
}

/// A connection with TLS.
pub(super) struct SecureStream(Box<client::TlsStream<Socket>>);

impl TlsStream for SecureStream {
    /// None: the server then checks the password alone, as `psql` may.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
