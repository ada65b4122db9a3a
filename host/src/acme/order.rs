//! One order of a certificate at a directory (RFC 8555 section 7.4): from the account to the
//! certificate.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use http::Uri;
use instant_acme::{
    Account, AccountCredentials, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error,
    Identifier, KeyAuthorization, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
};

use super::folder::Folder;
use super::http::Client;
use super::time::now;
use crate::outbound::Authorities;
use crate::server::tls::{Validity, check_obtained};

/// How often the state of an order is asked for, and for how long. Authorities validate within
/// seconds, and issue within some more.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// What a certificate is ordered for.
#[derive(Clone, Debug)]
pub(super) struct Request<'r> {
    /// The URL of the directory.
    pub(super) directory: &'r str,
    pub(super) email: Option<&'r str>,
    /// The names, of which the first is that of the file.
    pub(super) names: &'r [String],
    pub(super) challenge: Challenge,
}

/// How to prove that a name belongs to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Http01,
    TlsAlpn01,
}

impl Challenge {
    fn kind(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    /// Returns its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// A certificate that was issued.
pub(super) struct Issued {
    /// Its key, and the certificate with the intermediate ones, in PEM.
    pub(super) pem: Vec<u8>,
    pub(super) validity: Validity,
}

/// Removes the answers to challenges when it is dropped, however the order has ended.
struct Answers<'f>(&'f Folder);

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.0.remove_answers();
    }
}

/// Orders a certificate. `client` must be for the directory's host, and `folder` is for the account
/// and for answers to challenges.
///
/// # Errors
///
/// Fails if the directory refuses it or what it sends is unusable, or if the folder can't be
/// written.
pub(super) async fn order(
    request: &Request<'_>,
    folder: &Folder,
    client: &Client,
) -> anyhow::Result<Issued> {
    let account = account(request, folder, client).await?;
    let identifiers: Vec<_> = request.names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&identifiers)).await {
        Ok(order) => order,
        Err(error) => {
            if is_unknown_account(&error) {
                // The next attempt creates another one.
                let _ = folder.remove_account(request.directory);
            }
            return Err(shown(error)).context("the order was refused");
        }
    };
    let answers = Answers(folder);
    if order.state().status != OrderStatus::Ready {
        answer(request, folder, &mut order).await?;
        let status = order.poll_ready(&POLL).await.map_err(shown);
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let problem = problem(&mut order).await;
            status.context(problem.clone())?;
            bail!(problem);
        }
    }
    drop(answers);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(request.names)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    let finalized = order.finalize_csr(csr.der()).await.map_err(shown);
    finalized.context("the certificate was refused")?;
    let chain = order.poll_certificate(&POLL).await.map_err(shown);
    let chain = chain.context("the certificate was not issued")?;
    let pem = format!("{}{chain}", key.serialize_pem());
    let validity = check_obtained(pem.as_bytes(), request.names)?;
    ensure!(
        validity.end > now(),
        "the certificate has expired already: is this machine's clock right?"
    );
    Ok(Issued {
        pem: pem.into_bytes(),
        validity,
    })
}

/// Loads the account at the directory, or creates it.
async fn account(
    request: &Request<'_>,
    folder: &Folder,
    client: &Client,
) -> anyhow::Result<Account> {
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let stored = folder.account(request.directory);
    let stored = stored.and_then(|text| serde_json::from_slice::<AccountCredentials>(&text).ok());
    if let Some(credentials) = stored {
        let account = builder().from_credentials(credentials).await;
        return account.map_err(shown).context("the directory");
    }
    let contact = request.email.map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = request.directory.to_owned();
    let created = builder().create(&new, directory, None).await;
    let (account, credentials) = created.map_err(shown).context("the account")?;
    folder
        .set_account(request.directory, &serde_json::to_vec(&credentials)?)
        .with_context(|| folder.path().display().to_string())?;
    Ok(account)
}

/// Answers the challenges of an order.
async fn answer(request: &Request<'_>, folder: &Folder, order: &mut Order) -> anyhow::Result<()> {
    let count = order.state().authorizations.len();
    ensure!(
        count <= request.names.len(),
        "the order wants {count} authorizations for {} names",
        request.names.len()
    );
    let mut authorizations = order.authorizations();
    while let Some(found) = authorizations.next().await {
        let mut found = found.map_err(shown).context("an authorization")?;
        let name = match &found.identifier().identifier {
            Identifier::Dns(name) if request.names.contains(name) => name.clone(),
            _ => bail!("the order has an authorization for a name that was not asked for"),
        };
        match found.status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => {
                let answered = prove(request.challenge, folder, &mut found, &name).await;
                answered.with_context(|| name)?;
            }
            status => bail!("{name}: the authorization is {status:?}"),
        }
    }
    Ok(())
}

/// Answers the challenge of one name.
async fn prove<'a>(
    challenge: Challenge,
    folder: &Folder,
    authorization: &'a mut AuthorizationHandle<'a>,
    name: &str,
) -> anyhow::Result<()> {
    let mut handle = authorization.challenge(challenge.kind()).with_context(|| {
        format!(
            "the directory has no challenge {}: set acme.challenge to another one",
            challenge.as_str()
        )
    })?;
    let key = handle.key_authorization();
    let (file, content) = match challenge {
        Challenge::Http01 => {
            let file = folder.challenges().response_file(&handle.token);
            (file, key.as_str().as_bytes().to_vec())
        }
        Challenge::TlsAlpn01 => (
            folder.challenges().certificate_file(name),
            certificate(&key, name)?.into_bytes(),
        ),
    };
    let file: PathBuf = file.context("the directory has sent a malformed token")?;
    folder
        .set_answer(&file, &content)
        .with_context(|| file.display().to_string())?;
    handle.set_ready().await.map_err(shown)
}

/// Returns the certificate that answers TLS-ALPN-01, and its key, in PEM (RFC 8737 section 3).
fn certificate(authorization: &KeyAuthorization, name: &str) -> anyhow::Result<String> {
    let digest = authorization.digest();
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let extension = CustomExtension::new_acme_identifier(digest.as_ref());
    params.custom_extensions = vec![extension];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

/// Returns why an order is not ready: the first error of a challenge, or of the order.
async fn problem(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut one)) = authorizations.next().await {
        let Ok(state) = one.refresh().await else {
            break;
        };
        let mut errors = state.challenges.iter();
        if let Some(error) = errors.find_map(|challenge| challenge.error.as_ref()) {
            let why = of_problem(error);
            return match &one.identifier().identifier {
                Identifier::Dns(name) => format!("{name}: {why}"),
                _ => why,
            };
        }
    }
    let error = order.state().error.as_ref();
    error.map_or("the names were not validated".into(), of_problem)
}

fn is_unknown_account(error: &Error) -> bool {
    const UNKNOWN: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(UNKNOWN))
}

/// Describes an error of the library.
fn shown(error: Error) -> anyhow::Error {
    match error {
        Error::Api(problem) => anyhow!(of_problem(&problem)),
        Error::Other(error) => anyhow!("{error}"),
        Error::Json(_) => anyhow!("the response is not of ACME: is acme.directory right?"),
        Error::Timeout(_) => anyhow!("the directory took too long"),
        error => anyhow!("{error}"),
    }
}

/// Describes what the directory says is wrong.
fn of_problem(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind
        .strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind);
    let mut text = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        if let Some(detail) = &sub.detail {
            text.push_str("; ");
            text.push_str(detail);
        }
    }
    match text.is_empty() {
        true => kind.to_owned(),
        false => format!("{text} ({kind})"),
    }
}

/// Creates the client for requests to a directory.
///
/// # Errors
///
/// Fails if the URL is malformed.
pub(super) fn client(directory: &str, authorities: Option<Authorities>) -> anyhow::Result<Client> {
    let uri: Uri = directory.parse().context("acme.directory")?;
    Ok(Client::new(uri, authorities))
}
