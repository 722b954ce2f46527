//! One certificate: made, read back, and what of it decisions need.

use std::sync::Arc;

use holdfast_transport::{Credentials, Fingerprint, Identity, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{AUTHORITY_LIFE_S, BACKDATE_S, Error, LEAF_LIFE_S};

/// Around a certificate in a file (RFC 7468, section 5).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate, and what of it decisions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) pem: String,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) fingerprint: Fingerprint,
    not_before_s: i64,
    not_after_s: i64,
}

/// One who issues.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    pub(super) key: Arc<str>,
}

/// One who proves.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) certificate: Certificate,
    pub(super) key: Arc<str>,
}

impl Certificate {
    /// Reads all certificates in `pem`, as far as they can be read.
    pub(super) fn read(pem: &[u8]) -> Vec<Self> {
        let text = String::from_utf8_lossy(pem);
        let blocks = text.split_inclusive(END).filter_map(|part| {
            let begin = part.find(BEGIN)?;
            part.ends_with(END).then_some(&part[begin..])
        });
        blocks.filter_map(Self::parse).collect()
    }

    fn parse(block: &str) -> Option<Self> {
        let (_, der) = x509_parser::pem::parse_x509_pem(block.as_bytes()).ok()?;
        let parsed = der.parse_x509().ok()?;
        Some(Self {
            pem: format!("{block}\n"),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            fingerprint: Fingerprint::of(&der.contents),
            not_before_s: parsed.validity().not_before.timestamp(),
            not_after_s: parsed.validity().not_after.timestamp(),
        })
    }

    /// When it was made, seconds since 1970.
    pub(super) fn made_s(&self) -> i64 {
        self.not_before_s + BACKDATE_S
    }

    pub(super) fn is_valid(&self, now_s: i64) -> bool {
        (self.not_before_s..self.not_after_s).contains(&now_s)
    }
}

impl Authority {
    /// What the files hold, where that is an authority with its key.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate).into_iter().next()?;
        let key: Arc<str> = std::str::from_utf8(key).ok()?.into();
        let authority = Self { certificate, key };
        let own = KeyPair::from_pem(&authority.key).ok()?;
        let named = x509_parser::pem::parse_x509_pem(authority.certificate.pem.as_bytes()).ok()?.1;
        let parsed = named.parse_x509().ok()?;
        let same = parsed.public_key().subject_public_key.data.as_ref() == own.public_key_raw();
        (same && parsed.is_ca()).then_some(authority)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_pem(&self.certificate.pem, KeyPair::from_pem(&self.key)?)
    }
}

impl Leaf {
    /// What the files hold, where that is a certificate with some key.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate).into_iter().next()?;
        Some(Self { certificate, key: std::str::from_utf8(key).ok()?.into() })
    }

    /// Whether `identity` could prove itself with it. (Whom it trusts plays no part.)
    pub(super) fn speaks_for(&self, identity: &Identity) -> bool {
        let authorities = self.certificate.pem.as_bytes();
        Tls::new(identity.clone(), &self.credentials(authorities)).is_ok()
    }

    pub(super) fn credentials(&self, authorities: &[u8]) -> Credentials {
        Credentials {
            authorities: authorities.to_vec(),
            certificate: self.certificate.pem.clone().into_bytes(),
            key: self.key.as_bytes().to_vec(),
        }
    }
}

/// A new authority (ECDSA on P-256, with SHA-256).
pub(super) fn authority(cluster: &str, now_s: i64) -> Result<Authority, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // Each one has a name of its own, so that it shows who issued what.
    let name = format!("holdfast {cluster} {}", Uuid::new_v4().simple());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // It issues for holders alone, not for other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now_s - BACKDATE_S)?;
    params.not_after = moment(now_s + AUTHORITY_LIFE_S)?;
    let made = params.self_signed(&key)?;
    let certificate = read_back(&made)?;
    Ok(Authority { certificate, key: key.serialize_pem().into() })
}

/// A certificate of `identity`, issued by `signer`.
pub(super) fn leaf(signer: &Authority, identity: &Identity, now_s: i64) -> Result<Leaf, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([identity.name()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, identity.role().to_string());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Brokers are dialled, and dial.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now_s - BACKDATE_S)?;
    params.not_after = moment(now_s + LEAF_LIFE_S)?;
    let made = params.signed_by(&key, &signer.issuer()?)?;
    let certificate = read_back(&made)?;
    Ok(Leaf { certificate, key: key.serialize_pem().into() })
}

fn read_back(made: &rcgen::Certificate) -> Result<Certificate, Error> {
    let read = Certificate::read(made.pem().as_bytes()).into_iter().next();
    read.ok_or(Error::Make(rcgen::Error::CouldNotParseCertificate))
}

fn moment(at_s: i64) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp(at_s).map_err(|_| Error::Time(at_s))
}
