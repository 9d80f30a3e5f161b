//! What the HTTP side is told.

use rollcall_proto::id::DistrictId;
use rollcall_store::lti;
use url::Url;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// Where people reach the site; ends with a slash.
    public_url: Url,
    /// Plain http, and addresses that are not public, are allowed. For trying things out.
    allow_private_addresses: bool,
}

/// A public URL that no site can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not https.
    #[error(
        "the public URL must begin with https:// (plain http only with ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true, for \
         trying things out): browsers send no cookie of a launch otherwise"
    )]
    NotHttps,
    /// With user, query or fragment.
    #[error("the public URL is an address and a path only: no user, query or fragment")]
    TooMuch,
}

impl WebConfig {
    /// Checks the public URL.
    pub fn new(mut public_url: Url, allow_private_addresses: bool) -> Result<Self, ConfigError> {
        let plain = public_url.scheme() == "http" && allow_private_addresses;
        if public_url.scheme() != "https" && !plain {
            return Err(ConfigError::NotHttps);
        }
        let has_user = !public_url.username().is_empty() || public_url.password().is_some();
        if has_user || public_url.query().is_some() || public_url.fragment().is_some() {
            return Err(ConfigError::TooMuch);
        }
        if !public_url.path().ends_with('/') {
            public_url.set_path(&format!("{}/", public_url.path()));
        }
        Ok(Self { public_url, allow_private_addresses })
    }

    /// Whether plain http and addresses that are not public are allowed.
    pub const fn allow_private_addresses(&self) -> bool {
        self.allow_private_addresses
    }

    /// Whether browsers reach the site over TLS.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// The site's origin and path, ending with a slash.
    pub const fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// The URL of a path of this site.
    fn at(&self, path: &str) -> Url {
        let mut url = self.public_url.clone();
        url.set_path(&format!("{}{path}", self.public_url.path()));
        url
    }

    /// Where a district's platform begins a login.
    pub fn login_url(&self, district: &DistrictId) -> Url {
        self.at(&format!("lti/{district}/login"))
    }

    /// Where a district's platform posts tokens; with a query, also what a flag links to.
    pub fn launch_url(&self, district: &DistrictId) -> Url {
        lti::launch_url(&self.public_url, district)
    }

    /// Where the tool's public keys for a district are.
    pub fn jwks_url(&self, district: &DistrictId) -> Url {
        self.at(&format!("lti/{district}/jwks"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, allow: bool) -> Result<WebConfig, ConfigError> {
        WebConfig::new(url.parse().unwrap(), allow)
    }

    #[test]
    fn a_site_is_reached_over_https() {
        assert!(config("https://plans.example", false).is_ok());
        assert_eq!(config("http://plans.example", false), Err(ConfigError::NotHttps));
        assert_eq!(config("ftp://plans.example", true), Err(ConfigError::NotHttps));
        assert!(config("http://localhost:8080", true).is_ok());
        for url in ["https://u@plans.example", "https://plans.example/?a", "https://plans.example/#a"] {
            assert_eq!(config(url, false), Err(ConfigError::TooMuch), "{url}");
        }
    }

    #[test]
    fn addresses_keep_the_path_that_a_proxy_adds() {
        let district = "lone-star".parse().unwrap();
        let config = config("https://plans.example/rollcall", false).unwrap();
        assert_eq!(config.login_url(&district).as_str(), "https://plans.example/rollcall/lti/lone-star/login");
        assert_eq!(config.launch_url(&district).as_str(), "https://plans.example/rollcall/lti/lone-star/launch");
    }
}
