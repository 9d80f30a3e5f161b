//! LTI 1.3: login, launch, keys, and the document at the end.
//!
//! ```text
//! SIS flag click
//!  1. platform -> tool   GET or POST  /lti/{district}/login    login      state, nonce and cookie are made
//!  2. tool -> platform   302          the registration's OIDC auth URL
//!  3. platform -> tool   POST (form)  /lti/{district}/launch   launch     state, id_token, claims, access
//!  4. browser -> tool    GET          /lti/{district}/document/{ticket}   once, within a minute
//! ```
//!
//! Sources: LTI 1.3 Core, 1EdTech Security Framework 1.0 section 5.1, OpenID Connect Core; wire/lti-emis-asm.md, part A.
//!
//! Every district has URLs of its own, so that a login, a key or a platform of one never meets another's.

pub mod claims;
pub(crate) mod document;
pub mod id_token;
pub(crate) mod launch;
pub(crate) mod login;
pub mod platform_keys;
pub(crate) mod site;
mod strict_json;
pub mod tool_keys;
mod whose;
