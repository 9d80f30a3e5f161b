//! What can be wrong with a launch, on purpose.

/// How tokens and forms are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Attack {
    /// As they should be.
    #[default]
    None,
    /// This algorithm in the header, and no signature.
    Unsigned(&'static str),
    /// The right header, and no signature.
    EmptySignature,
    /// HS256 with the public key as the secret.
    PublicKeyAsSecret,
    /// Signed by another key, under the right key's id.
    ForeignKey,
    /// This key id.
    KeyId(&'static str),
    /// Signed by the attacker's key, which `jku`, `x5u`, `jwk` and `x5c` of the header point at.
    KeyInHeader,
    /// A header member that must be understood.
    Critical,
    /// The attacker's client id beside the right one.
    ExtraAudience,
    /// Only the attacker's client id.
    OtherAudience,
    /// Another authorised party.
    OtherParty,
    /// Another deployment.
    OtherDeployment,
    /// Another issuer.
    OtherIssuer,
    /// Another target link than the login began with.
    OtherTarget(String),
    /// Another nonce.
    OtherNonce,
    /// Expired two minutes ago.
    Expired,
    /// Issued in ten minutes.
    FromTheFuture,
    /// Issued an hour ago, still alive.
    Old,
    /// Without an end.
    NoExpiry,
    /// The end as a string.
    ExpiryString,
    /// The end with a fraction.
    ExpiryFraction,
    /// Not valid before ten minutes from now.
    NotYet,
    /// A claim twice: the wrong issuer first, then the right one.
    DuplicateClaim,
    /// A form field twice.
    DuplicateField,
    /// A deep link request instead of a launch.
    OtherMessage,
    /// LTI 1.1.
    OtherVersion,
    /// No subject.
    Anonymous,
    /// Script in names, titles, custom values and the student's name.
    Script,
    /// An error instead of a token, with script in its description.
    ErrorWithScript,
    /// A claim of so many bytes more; a third more of the token.
    Padded(usize),
    /// Nested a thousand deep.
    Deep,
    /// A variable that the platform did not fill in.
    UnfilledVariable,
    /// Another student in the custom claim than in the link.
    OtherStudent(String),
}

/// Runs where it can.
pub(super) const SCRIPT: &str = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

impl Attack {
    /// The form that is posted.
    pub(super) fn form(&self, state: String, id_token: String) -> Vec<(&'static str, String)> {
        match self {
            Self::ErrorWithScript => {
                vec![("error", "login_required".to_owned()), ("error_description", SCRIPT.to_owned()), ("state", state)]
            }
            Self::DuplicateField => {
                vec![("state", "another".to_owned()), ("id_token", id_token), ("state", state)]
            }
            _ => vec![("id_token", id_token), ("state", state)],
        }
    }
}
