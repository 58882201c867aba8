//! The digests in requests to S3. `object_store` computes the SHA-256 of each object that it sends.
//! For a segment it is known: the ledger has it. The thread that sends would stop for it.

use aws_lc_rs::hmac;
use bytes::Bytes;
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::sync::Arc;

type Sha = [u8; 32];

/// The objects that are being sent, and their digests.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownDigests(Arc<Mutex<Vec<(Bytes, Sha)>>>);

/// Keeps an object's digest known.
pub(super) struct KnownDigest<'a>(&'a KnownDigests, Bytes);

impl KnownDigests {
    /// Notes the digest of an object, in hexadecimal, until the result is dropped.
    pub(super) fn note(&self, body: &Bytes, digest: &str) -> KnownDigest<'_> {
        self.0.lock().extend(parsed(digest).map(|digest| (body.clone(), digest)));
        KnownDigest(self, body.clone())
    }

    /// Finds an object by its place in memory, where nothing else is while it is noted.
    fn find(&self, data: &[u8]) -> Option<(Bytes, Sha)> {
        self.0.lock().iter().find(|(body, _)| is_same(body, data)).cloned()
    }
}

impl Drop for KnownDigest<'_> {
    fn drop(&mut self) {
        let mut known = self.0.0.lock();
        let at = known.iter().position(|(body, _)| is_same(body, &self.1));
        at.map(|at| known.swap_remove(at));
    }
}

fn is_same(body: &[u8], data: &[u8]) -> bool {
    std::ptr::eq(body, data)
}

fn parsed(digest: &str) -> Option<Sha> {
    let mut bytes = Sha::default();
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digest.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl CryptoProvider for KnownDigests {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        check(&algorithm)?;
        let (known, sha, out) = (self.clone(), Sha256::new(), Sha::default());
        Ok(Box::new(Context { known, whole: None, is_empty: true, sha, out }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        check(&algorithm)?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Box::new(Hmac { context: hmac::Context::with_key(&secret), out: None }))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(not_supported("S3 has no signatures by keys"))
    }
}

fn check(algorithm: &DigestAlgorithm) -> Result<()> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(()),
        _ => Err(not_supported("it is not SHA-256")),
    }
}

fn not_supported(why: &str) -> Error {
    Error::NotSupported { source: why.into() }
}

struct Context {
    known: KnownDigests,
    /// The object whose digest it is so far.
    whole: Option<(Bytes, Sha)>,
    is_empty: bool,
    sha: Sha256,
    out: Sha,
}

impl DigestContext for Context {
    fn update(&mut self, data: &[u8]) {
        if std::mem::replace(&mut self.is_empty, false) {
            self.whole = self.known.find(data);
            if self.whole.is_some() {
                return;
            }
        }
        // It goes on after an object.
        if let Some((body, _)) = self.whole.take() {
            self.sha.update(&body);
        }
        self.sha.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        let known = self.whole.take().map(|(_, digest)| digest);
        self.out = known.unwrap_or_else(|| self.sha.finalize_reset().into());
        Ok(&self.out)
    }
}

/// The library's, as in TLS.
struct Hmac {
    context: hmac::Context,
    out: Option<hmac::Tag>,
}

impl HmacContext for Hmac {
    fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        let tag = self.out.insert(self.context.clone().sign());
        Ok((*tag).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    fn digest(known: &KnownDigests, parts: &[&[u8]]) -> String {
        let mut context = known.digest(DigestAlgorithm::Sha256).unwrap();
        parts.iter().for_each(|part| context.update(part));
        hex(context.finish().unwrap())
    }

    #[test]
    fn object_that_is_noted_is_not_hashed_again() {
        let (known, body) = (KnownDigests::default(), Bytes::from(vec![b'x'; 100]));
        let hashed = hex(&Sha256::digest(&body));
        assert_eq!(digest(&known, &[&body]), hashed);
        // Any digest, to see where it comes from.
        let (noted, same_text) = ("0f".repeat(32), vec![b'x'; 100]);
        let guard = known.note(&body, &noted);
        assert_eq!(digest(&known, &[&body]), noted);
        assert_eq!(digest(&known, &[&same_text]), hashed);
        assert_eq!(digest(&known, &[&body[..50], &body[50..]]), hashed);
        let more = [&body[..], b"more"];
        assert_eq!(digest(&known, &more), hex(&Sha256::digest(more.concat())));
        drop(guard);
        assert_eq!(digest(&known, &[&body]), hashed);
        assert_eq!(digest(&known, &[]), hex(&Sha256::digest(b"")));
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        for (secret, text, expected) in [
            (
                &b"Jefe"[..],
                &b"what do ya want for nothing?"[..],
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let known = KnownDigests::default();
            let mut hmac = known.hmac(DigestAlgorithm::Sha256, secret).unwrap();
            hmac.update(&text[..10]);
            hmac.update(&text[10..]);
            assert_eq!(hex(hmac.finish().unwrap()), expected);
        }
        assert!(KnownDigests::default().sign(SigningAlgorithm::RS256, b"").is_err());
    }
}
